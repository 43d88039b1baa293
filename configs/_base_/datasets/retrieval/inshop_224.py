# In-shop Clothes Retrieval (DeepFashion) at 224 px: mmpretrain's InShop, whose layout its documentation shows. 25,882
# photos of 3,997 garments to train; 14,218 queries and a gallery of 12,612 photos of other garments to search. The
# gallery belongs to the model: prototype=gallery_dataloader of FaissRetriever.
_base_ = ['../cub.py', '../pipelines/medium_224.py']

data_root = 'data/inshop'

train_dataloader = dict(
    batch_size=64,
    dataset=dict(_delete_=True, type='InShop', data_root=data_root, split='train', pipeline=_base_.train_pipeline),
)
val_dataloader = dict(
    dataset=dict(_delete_=True, type='InShop', data_root=data_root, split='query', pipeline=_base_.test_pipeline)
)
test_dataloader = val_dataloader
gallery_dataloader = dict(
    batch_size=32,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='InShop', data_root=data_root, split='gallery', pipeline=_base_.test_pipeline),
)

# The k of the literature; mmpretrain's RetrievalRecall and RetrievalAveragePrecision work here too.
val_evaluator = [dict(type='RetrievalMetrics', mode='ranking', ks=(1, 10, 20, 30))]
test_evaluator = val_evaluator
