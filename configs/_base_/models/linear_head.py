# The plain twins' head: a linear classifier on the CLS token, with the loss of the GLSim models.
linear_head = dict(
    type='LinearClsHead',
    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
)
