# A convolution over the selected tokens as aggregator (the authors' aggregator_type='conv').
_base_ = './glsim_dinov2s_top_tokens_cub.py'

model = dict(
    head=dict(
        layer_type='conv',
        sequence_length=9,  # the CLS token and top_o = 8
        norm_cfg=dict(type='LN', eps=1e-5),
        drop_path_rate=0.0,  # there is no residual path to drop
    )
)
