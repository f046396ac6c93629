"""Hardware back ends: from the integer graph to something that runs."""
