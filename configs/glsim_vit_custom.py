# GLSim ViT-B/16 on images of your own: a folder with train/ and val/, each with one sub-folder per class.
_base_ = [
    '_base_/models/glsim_vit_base_p16.py',
    '_base_/datasets/custom_224.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

# The two lines to change.
data_root = 'data/custom'
num_classes = 10

model = dict(head=dict(num_classes=num_classes))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
