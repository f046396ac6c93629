"""From a float model to an integer one: recipes, streaming calibration, ranges, the graph writer."""
