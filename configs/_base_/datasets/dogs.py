# Stanford Dogs; the pipelines come from pipelines/.
_base_ = 'cub.py'

train_dataloader = dict(dataset=dict(type='StanfordDogs', data_root='data/stanford_dogs', split='train'))
val_dataloader = dict(dataset=dict(type='StanfordDogs', data_root='data/stanford_dogs', split='test'))
test_dataloader = val_dataloader
