"""Published data sets: check a folder, download and unpack what is missing."""
