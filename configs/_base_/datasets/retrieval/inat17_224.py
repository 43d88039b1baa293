# iNaturalist 2017, 2,544 / 2,545 classes, at 224 px: train on the first half, search among the second.
_base_ = ['../class_disjoint/inat17.py', '../pipelines/medium_224.py']

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader

# The k of the literature on iNaturalist; mAP would rank some 340,000 images for each of them.
val_evaluator = [dict(type='RetrievalMetrics', ks=(1, 4, 16, 32), whole_ranking=False)]
test_evaluator = val_evaluator
