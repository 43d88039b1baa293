# GLSim ViT-B/16 with Proxy-Anchor on CUB-200-2011, 100 / 100 classes, at 224 px.
_base_ = [
    '../_base_/models/glsim_vit_base_p16_embedding.py',
    '../_base_/datasets/retrieval/cub_224.py',
    '../_base_/schedules/adamw_40e.py',
    '../_base_/default_runtime.py',
]

# margin and alpha of the paper (arXiv 2003.13911), which samples at random.
loss = dict(type='MetricLearningLoss', name='ProxyAnchorLoss', margin=0.1, alpha=32)
model = dict(head=dict(num_classes=100, loss=loss))

# Proxies learn with lr 1e-2 in the authors' code (github.com/tjddus9597/Proxy-Anchor-CVPR2020).
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'head.loss_module': dict(lr_mult=1000)}))
