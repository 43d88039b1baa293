# GLSim ViT-B/16 on images of your own, listed in a CSV or Parquet file: path,label,split[,box].
_base_ = [
    '_base_/models/glsim_vit_base_p16.py',
    '_base_/datasets/table.py',
    '_base_/datasets/pipelines/medium_224.py',
    '_base_/schedules/sgd_50e.py',
    '_base_/default_runtime.py',
]

# The three lines to change; paths in the file start at data_root.
data_root = 'data/products'
ann_file = 'products.csv'
num_classes = 10

model = dict(head=dict(num_classes=num_classes))
train_dataloader = dict(dataset=dict(data_root=data_root, ann_file=ann_file, pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file=ann_file, pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
