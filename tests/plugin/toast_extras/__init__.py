"""An example of a package that adds to ToaSt Studio; docs/plugins.md explains it."""
