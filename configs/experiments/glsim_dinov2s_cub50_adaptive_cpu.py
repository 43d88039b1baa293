# glsim_dinov2s_cub50_cpu.py whose head also learns to do without a crop: one checkpoint for test_cfg.crop = 'always',
# 'adaptive' and 'off' (docs/studies/performance.md).
_base_ = 'glsim_dinov2s_cub50_cpu.py'

model = dict(
    head=dict(sequence_weights=dict(both=1.0, image=1.0)),
    test_cfg=dict(crop='adaptive', threshold=0.08),
)
