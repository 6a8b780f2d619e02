"""What Streamlit runs for every browser session. It lies in a folder of its own, since Streamlit takes a folder named pages beside
its script for pages in themselves, and would answer a link to one with an empty page.
"""

from dashboard.app import main
from dashboard.server.sign_in import admits

main(admits)
