"""One run of a class: its folder, its plan, its main loop."""
