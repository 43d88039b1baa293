# The paper's "medium" augmentation at 448 px, int(1.34 * 448) = 600. Any other size is a copy of this file.
_base_ = 'medium_224.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 600
train_pipeline[2].crop_size = 448

test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 600
test_pipeline[2].crop_size = 448
