# GLSim's ViT-B/16 as a backbone for detectors and segmenters. Recipes take what they need from here.
# Weights of a GLSim classifier of this project in place of ImageNet-21k's:
#   --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/glsim_vit_cub/epoch_50.pth
custom_imports = dict(imports=['glsim_mm'], allow_failed_imports=False)

glsim_channels = 768
glsim_backbone = dict(
    type='mmpretrain.GLSimViT',
    arch='vit-base',
    img_size=224,
    patch_size=16,
    out_type='featmap',
    drop_path_rate=0.1,  # grows linearly with depth, as in ViTDet
    norm_cfg=dict(type='LN', eps=1e-12),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://download.openmmlab.com/mmclassification/v0/vit/pretrain/'
        'vit-base-p16_3rdparty_pt-64xb64_in1k-224_20210928-02284250.pth',
        prefix='backbone',
    ),
)
# ViTDet's recipe (arXiv 2203.16527, appendix A.2): AdamW, learning rates that fall towards the first layer.
glsim_optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmpretrain.BackboneLayerDecayConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.1),
    paramwise_cfg=dict(layer_decay_rate=0.7, norm_decay_mult=0.0, bias_decay_mult=0.0),
)
