"""The script that Streamlit runs; see `session.py`."""
