# Best on training photos (docs/studies/why_look_twice.md): the box around what attends and is attended to.
_base_ = 'glsim_cub50.py'

model = dict(neck=dict(_delete_=True, type='MAWSSelector', top_o=12, box_end='inclusive', smoothing=0.7))
