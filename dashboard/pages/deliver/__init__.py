"""The Deliver page: page.py puts it together from one file a section."""
