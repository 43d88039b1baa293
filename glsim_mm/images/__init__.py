"""Photos read, decoded and prepared, and what is said of them; needs neither mmpretrain nor torch."""
