# The recorded run on unseen classes with a head that has no parameters of its own: it reads the sum of the class tokens
# of image and crop, and is trained by cosine cross-entropy (docs/studies/experiments.md).
_base_ = 'glsim_dinov2s_cub25_cpu.py'

model = dict(
    # 16 x 16 patches: 64 of them cover a region of the size that serves frozen encoders best.
    neck=dict(top_o=64),
    head=dict(_delete_=True, type='FusedHead', num_classes=25, in_channels=384),
)
