# Stanford Cars; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='StanfordCarsFormat', data_root='data/stanford_cars', split='train'))
val_dataloader = dict(dataset=dict(type='StanfordCarsFormat', data_root='data/stanford_cars', split='test'))
test_dataloader = val_dataloader
