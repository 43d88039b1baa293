"""The model of a gallery as a file, also that of a pretrained encoder, and as a model repository."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tiny_run import ROOT, call_tool, run_command
from tiny_vit import write_vit

from glsim_mm.errors import UserError
from glsim_mm.exported import ExportedModel
from glsim_mm.exported.triton import model_file, write_repository
from glsim_mm.exporting import export_gallery_model
from glsim_mm.search import ImageSearch, build_gallery
from retrieval.gallery import create_gallery

# Names, numbers and types of what Triton's model_config.proto calls so, as far as a repository has them.
FIELDS = {
    'Input': dict(name=(1, 'string'), data_type=(2, 'DataType'), dims=(4, '*int64')),
    'Output': dict(name=(1, 'string'), data_type=(2, 'DataType'), dims=(3, '*int64'), label_filename=(4, 'string')),
    'QueuePolicy': dict(max_queue_size=(4, 'uint32')),
    'Batching': dict(max_queue_delay_microseconds=(2, 'uint64'), default_queue_policy=(5, 'QueuePolicy')),
    'Parameter': dict(string_value=(1, 'string')),
    'Entry': dict(key=(1, 'string'), value=(2, 'Parameter')),
    'ModelConfig': dict(
        name=(1, 'string'),
        backend=(17, 'string'),
        max_batch_size=(4, 'int32'),
        input=(5, '*Input'),
        output=(6, '*Output'),
        default_model_filename=(8, 'string'),
        dynamic_batching=(11, 'Batching'),
        parameters=(14, '*Entry'),
    ),
}
PROGRAM = """
import sys
from glsim_mm.search import ImageSearch

gallery, model, photo = sys.argv[1:]
with ImageSearch.open(gallery, checkpoint=model, device='cpu') as search:
    print(search(photo, 1)[0].hits[0].record.path)
print(sorted({name.partition('.')[0] for name in sys.modules} & {'mmcv', 'mmengine', 'mmpretrain', 'timm', 'torch'}))
"""


def read_config(text: str):
    """A ``config.pbtxt``, by protobuf's own parser."""
    file = descriptor_pb2.FileDescriptorProto(name='config.proto', package='t', syntax='proto3')
    kinds = file.enum_type.add(name='DataType')
    for number, name in ((0, 'TYPE_INVALID'), (11, 'TYPE_FP32')):
        kinds.value.add(name=name, number=number)
    of = descriptor_pb2.FieldDescriptorProto
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = described.field.add(name=name, number=number, label=3 if kind.startswith('*') else 1)
            kind = kind.lstrip('*')
            if kind in FIELDS or kind == 'DataType':
                field.type, field.type_name = (14 if kind == 'DataType' else 11), f'.t.{kind}'
            else:
                field.type = getattr(of, f'TYPE_{kind.upper()}')
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName('t.ModelConfig'))
    return text_format.Parse(text, config())


@pytest.fixture(scope='module')
def frozen(tmp_path_factory, made) -> tuple[Path, Path, list[str]]:
    """A gallery of a pretrained encoder with all its spaces, its exported model with its metric, and photos."""
    folder = tmp_path_factory.mktemp('frozen')
    photos = sorted(map(str, made[2].rglob('*.png')))
    weights, options = write_vit(folder / 'vit.safetensors'), dict(device='cpu', num_workers=0, progress=False)
    build_gallery(photos[:6], None, None, folder / 'gallery', encoder=str(weights), keep_patches=True, **options)
    options = ('--triton', folder / 'models', '--name', 'birds', '--metric-of', folder / 'gallery')
    call_tool('export', '--gallery', folder / 'gallery', *options)
    return folder / 'gallery', model_file(folder / 'models', 'birds'), photos


def test_a_pretrained_encoder_is_exported(frozen):
    gallery, model, photos = frozen
    with ImageSearch.open(gallery, device='cpu') as wanted, ImageSearch.open(gallery, checkpoint=model) as search:
        one, other = (one.encoder.encode(photos) for one in (search, wanted))
        assert list(one.embeddings) == ['global', 'crop', 'centre']
        for space, values in other.embeddings.items():
            np.testing.assert_allclose(one.embeddings[space], values, atol=1e-4)
        np.testing.assert_allclose(one.patches, other.patches, atol=1e-2)  # kept as float16
        for found, expected in zip(search(photos, 6), wanted(photos, 6), strict=True):
            assert found.query.box == pytest.approx(expected.query.box, abs=0.06)
            scores = [{hit.record.id: hit.score for hit in result.hits} for result in (found, expected)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-4)
        pixels = np.stack([search.encoder.pipeline(np.zeros((40, 40, 3), np.uint8))])
        outputs = ExportedModel(model, device='cpu')(pixels)
        metric = wanted.gallery.transform(wanted.encoder.encode(np.zeros((40, 40, 3), np.uint8)).embeddings, 'fused')
    np.testing.assert_allclose(outputs['metric'], metric / np.linalg.norm(metric, axis=1, keepdims=True), atol=1e-4)


def test_searching_with_it_loads_no_torch(frozen):
    gallery, model, photos = frozen
    done = run_command(sys.executable, '-c', PROGRAM, gallery, model, photos[0], cwd=ROOT)
    found, loaded = done.stdout.splitlines() or [done.stderr, '']
    assert photos[0].endswith(found) and loaded == '[]'


def test_a_gallery_of_a_config_is_exported(made, tmp_path):
    config, weights, images, _ = made
    options = dict(device='cpu', num_workers=0, progress=False, spaces=['global', 'centre'])
    build_gallery(str(images), config, str(weights), tmp_path / 'gallery', **options)
    report = export_gallery_model(tmp_path / 'gallery', tmp_path / 'model.onnx')
    assert {'centre', 'class_tokens'} <= set(report.info.outputs) and 'logits' not in report.info.outputs
    with ImageSearch.open(tmp_path / 'gallery', checkpoint=report.path) as search:
        hit = search(next(images.rglob('*.png')), 1)[0].hits[0]
        assert hit.score == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_exported(frozen, tmp_path, capsys):
    gallery, model, _ = frozen
    with pytest.raises(UserError, match='GLSimClassifier classifies nothing'):
        export_gallery_model(gallery, tmp_path / 'model.onnx', 'classifier')
    with create_gallery(tmp_path / 'none', 4):
        pass
    with pytest.raises(UserError, match='does not say which model made it'):
        export_gallery_model(tmp_path / 'none', tmp_path / 'model.onnx')
    with create_gallery(tmp_path / 'exported', 4, origin=dict(checkpoint=str(model))):
        pass
    with pytest.raises(UserError, match='which is exported already'):
        export_gallery_model(tmp_path / 'exported', tmp_path / 'model.onnx')
    shutil.copytree(gallery, tmp_path / 'gallery')
    weights = gallery.parent / 'vit.safetensors'
    before = weights.read_bytes()
    try:
        write_vit(weights, seed=1)
        with pytest.raises(UserError, match='was made by another model'):
            export_gallery_model(gallery, tmp_path / 'model.onnx')
    finally:
        weights.write_bytes(before)
    assert not (tmp_path / 'model.onnx').exists()
    for options, message in (
        (['--gallery', gallery, 'config.py', '--out', 'a.onnx'], 'give a config and a checkpoint, or --gallery'),
        (['config.py', '--out', 'a.onnx'], 'give a config and a checkpoint, or --gallery'),
        (['--gallery', gallery, '--centre', '--out', 'a.onnx'], '--gallery takes the model as it was'),
        (['--gallery', gallery], 'give --out FILE, or --triton DIR'),
        (['--gallery', gallery, '--triton', tmp_path, '--name', '../up'], 'has a name of letters'),
    ):
        with pytest.raises(SystemExit) as stopped:
            call_tool('export', *options)
        assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_a_repository_that_triton_reads(made, tmp_path):
    file = model_file(tmp_path, 'birds')
    file.parent.mkdir(parents=True)
    shutil.copy(made[3], file)
    written = write_repository(file, 'birds')
    assert sorted(one.relative_to(tmp_path).as_posix() for one in tmp_path.rglob('*') if one.is_file()) == [
        'birds/1/model.onnx',
        'birds/config.pbtxt',
        'birds/labels.txt',
    ]
    config, model = read_config(written.read_text()), ExportedModel(file, device='cpu')
    assert (config.name, config.backend, config.default_model_filename) == ('birds', 'onnxruntime', 'model.onnx')
    assert config.max_batch_size == 64 and config.dynamic_batching.max_queue_delay_microseconds == 10_000
    assert [(one.name, list(one.dims), one.data_type) for one in config.input] == [('pixels', [3, 32, 40], 11)]
    outputs = model(np.zeros((2, 3, 32, 40), np.uint8))
    assert {one.name: tuple(one.dims) for one in config.output} == {
        name: values.shape[1:] for name, values in outputs.items()
    }
    assert [one.name for one in config.output if one.label_filename == 'labels.txt'] == ['logits']
    assert (tmp_path / 'birds' / 'labels.txt').read_text() == 'plain\nstriped\n'
    (parameter,) = config.parameters
    assert parameter.key == 'glsim_mm' and parameter.value.string_value == model.info.to_json()


def test_the_command_line_writes_a_repository(frozen, capsys):
    gallery, model, _ = frozen
    repository = model.parents[2]
    config = read_config((repository / 'birds' / 'config.pbtxt').read_text())
    assert json.loads(config.parameters[0].value.string_value)['spaces'] == ['global', 'crop', 'concat', 'centre']
    with pytest.raises(SystemExit):
        call_tool('export', '--gallery', gallery, '--triton', repository, '--name', 'birds')
    assert 'give --overwrite' in capsys.readouterr().err
