"""Reading, decoding and preparing photos, and the form of their results; needs neither mmpretrain nor torch."""
