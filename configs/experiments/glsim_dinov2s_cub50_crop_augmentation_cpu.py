# glsim_dinov2s_cub50_cpu.py with crops as training images of their own and none at test time, at the plain twin's test
# cost (arXiv 2605.18700; docs/studies/performance.md).
_base_ = 'glsim_dinov2s_cub50_cpu.py'

model = dict(
    head=dict(sequence_weights=dict(image=1.0, crop=1.0)),
    test_cfg=dict(crop='off'),
)
