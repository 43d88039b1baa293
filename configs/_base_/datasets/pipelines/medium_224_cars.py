# "medium" for Stanford Cars, whose photos the authors resize to size / 0.875 = 256.
_base_ = 'medium_224.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 256

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 256
