# glsim_vit_cub.py whose head also learns to do without a crop: one checkpoint for test_cfg.crop = 'always', 'adaptive'
# and 'off'. glsim crop-curve prints accuracy and speed at every threshold.
_base_ = '../glsim_vit_cub.py'

model = dict(
    head=dict(sequence_weights=dict(both=1.0, image=1.0)),
    test_cfg=dict(crop='adaptive', threshold=0.5),
)
