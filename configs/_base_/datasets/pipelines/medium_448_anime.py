# "medium" for anime, whose mean colour is another: dafb.py and moe.py.
_base_ = 'medium_448.py'

train_pipeline = _base_.train_pipeline
train_pipeline[7].fill_color = (128, 128, 128)
