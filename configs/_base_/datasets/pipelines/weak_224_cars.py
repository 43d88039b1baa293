# "weak" for Stanford Cars, whose photos the authors resize to size / 0.875 = 256.
_base_ = 'weak_224.py'

weak_pipeline = _base_.weak_pipeline
weak_pipeline[1].scale = 256
