"""The Tune page: page.py puts it together from the choices and the fit to a budget."""
