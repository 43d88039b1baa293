# GLSim ViT-B/16 with the supervised contrastive loss on images of your own: a folder with train/ and val/, each with
# one sub-folder per class.
_base_ = [
    '../_base_/models/glsim_vit_base_p16_embedding.py',
    '../_base_/datasets/retrieval/custom_224.py',
    '../_base_/schedules/adamw_40e.py',
    '../_base_/default_runtime.py',
]

# The line to change; the loss needs no number of classes.
data_root = 'data/custom'

# Temperature 0.1 of arXiv 2004.11362; 16 classes x 4 images per batch.
model = dict(head=dict(loss=dict(type='MetricLearningLoss', name='SupConLoss', temperature=0.1)))
train_dataloader = dict(
    dataset=dict(data_root=data_root), batch_sampler=dict(type='ClassBalancedBatchSampler', images_per_class=4)
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
