# GLSim ViT-B/16 with the Multi-Similarity loss on Stanford Cars, 98 / 98 classes, at 224 px.
_base_ = [
    '../_base_/models/glsim_vit_base_p16_embedding.py',
    '../_base_/datasets/retrieval/cars_224.py',
    '../_base_/schedules/adamw_40e.py',
    '../_base_/default_runtime.py',
]

# All numbers, and batches of 16 classes x 5 images, are those of the authors' code (arXiv 1904.06627,
# github.com/msight-tech/research-ms-loss).
loss = dict(
    type='MetricLearningLoss',
    name='MultiSimilarityLoss',
    alpha=2,
    beta=40,
    base=0.5,
    miner=dict(name='MultiSimilarityMiner', epsilon=0.1),
)
model = dict(head=dict(loss=loss))
train_dataloader = dict(batch_size=80, batch_sampler=dict(type='ClassBalancedBatchSampler', images_per_class=5))
