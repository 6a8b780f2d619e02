"""From costs, schedules and results to Plotly figures: pure functions, free of Streamlit."""
