# GLSim ViT-B/16 with ArcFace on In-shop Clothes Retrieval at 224 px: queries are searched in a gallery by FAISS.
_base_ = [
    '../_base_/models/glsim_vit_base_p16_embedding.py',
    '../_base_/datasets/retrieval/inshop_224.py',
    '../_base_/schedules/adamw_40e.py',
    '../_base_/default_runtime.py',
]

# Margin 0.5 radians (28.6 degrees) and scale 64 of arXiv 1801.07698.
encoder = _base_.model
encoder.head.num_classes = 3997
encoder.head.loss = dict(type='MetricLearningLoss', name='ArcFaceLoss', margin=28.6, scale=64)
model = dict(_delete_=True, type='FaissRetriever', image_encoder=encoder, prototype=_base_.gallery_dataloader, topk=-1)

# Class vectors start from nothing; lr 1e-3 is our choice, not tuned.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'head.loss_module': dict(lr_mult=100)}))
custom_hooks = [*_base_.custom_hooks, dict(type='PrepareProtoBeforeValLoopHook')]
