"""What the Compare page is made of: candidates and what is known of them, damage image by image, and the sections that show it."""
