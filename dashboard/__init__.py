"""The interactive desk: Streamlit pages over the engine process. Nothing here imports torch."""
