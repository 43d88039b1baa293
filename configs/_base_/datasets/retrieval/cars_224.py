# Stanford Cars, 98 / 98 classes, at 224 px: train on the first half, search among the second.
_base_ = ['../class_disjoint/cars.py', '../pipelines/medium_224_cars.py']

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [dict(type='RetrievalMetrics', ks=(1, 2, 4, 8))]
test_evaluator = val_evaluator
