"""`lrwatch demo`: real, small trainings from three start rates, alone, with torch's rule and with the daemon beside them."""
