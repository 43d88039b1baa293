"""Exported files compute what the model computes, and run without it."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import onnx
import pytest
import torch
from exported_files import write_model
from PIL import Image
from tiny_run import call_tool

from glsim_mm.apis import GLSimInferencer, load_config
from glsim_mm.apis.exported_steps import find_image_size, translate_steps
from glsim_mm.errors import GLSimError
from glsim_mm.exported import ExportedInferencer, ExportedInfo, ExportedModel
from glsim_mm.exporting import export_model
from glsim_mm.exporting.export_graph import MetricLayer
from glsim_mm.search import Encoder, ExportedEncoder, ImageSearch, build_gallery
from glsim_mm.search.exported_encoder import _embed
from retrieval.class_metric import fit_metric
from retrieval.errors import UserError
from retrieval.gallery import open_gallery
from retrieval.gallery.spaces import Spaces
from retrieval.whitening import Residual, Whitening


def test_it_predicts_what_the_model_predicts(made):
    config, weights, images, path = made
    wanted = GLSimInferencer(config, str(weights), device='cpu')(str(images), batch_size=3, progress=False)
    found = ExportedInferencer(path, device='cpu')(str(images), batch_size=3)
    assert len({tuple(one['selected_box']) for one in wanted}) > 1
    for one, other in zip(found, wanted, strict=True):
        assert set(one) == set(other)
        assert [one[name] for name in ('path', 'pred_label', 'pred_class', 'selected_box')] == [
            other[name] for name in ('path', 'pred_label', 'pred_class', 'selected_box')
        ]
        np.testing.assert_allclose(one['pred_scores'], other['pred_scores'], atol=1e-4)
        np.testing.assert_allclose(one['similarity_map'], other['similarity_map'], atol=1e-4)
        np.testing.assert_allclose(one['selected_box_image'], other['selected_box_image'], atol=0.06)


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_any_batch_size_and_both_backends(made, backend):
    pytest.importorskip(backend)
    model = ExportedModel(made[3], backend, device='cpu', threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 40), dtype=np.uint8)
    whole = model(pixels)
    assert whole['logits'].shape == (5, 2) and whole['selected_boxes'].shape == (5, 1, 4)
    for name, value in model(pixels[:1]).items():
        np.testing.assert_allclose(value, whole[name][:1], atol=1e-4)
    with pytest.raises(GLSimError, match=r'\(B, 3, 32, 40\)'):
        model(pixels.transpose(0, 1, 3, 2))


@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_threads_share_a_model(made, backend):
    pytest.importorskip(backend)
    model = ExportedModel(made[3], backend, device='cpu', threads=1, shares_cores=True)
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (1 + number % 3, 3, 32, 40), dtype=np.uint8) for number in range(12)]
    expected = [model(batch) for batch in batches]
    meeting = Barrier(4, timeout=60)

    def ask(_: int) -> list[dict[str, np.ndarray]]:
        meeting.wait()
        return [model(batch) for _ in range(5) for batch in batches]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    for found in answers:
        for one, other in zip(found, expected * 5, strict=True):
            for name, value in other.items():
                np.testing.assert_allclose(one[name], value, atol=1e-4, err_msg=name)


def test_search_with_the_exported_encoder(made, tmp_path):
    config, weights, images, path = made
    encoder, exported = Encoder(config, str(weights), device='cpu'), ExportedEncoder(path, device='cpu')
    assert exported.spaces == encoder.spaces and exported.classes == encoder.classes
    assert not exported.fingerprint.differences(encoder.fingerprint)
    wanted, found = encoder.encode(str(images)), exported.encode(str(images))
    assert found.patches is None and found.records[0].patch_boxes is None
    for space in encoder.spaces:
        np.testing.assert_allclose(found.embeddings[space], wanted.embeddings[space], atol=1e-4)
    for one, other in zip(found.records, wanted.records, strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=0.06)


def test_the_exported_model_adds_to_a_gallery_and_compares_regions(made, tmp_path):
    config, weights, images, path = made
    options = dict(device='cpu', num_workers=0, progress=False, keep_patches=True)
    photos = sorted(map(str, images.rglob('*.png')))
    build_gallery(photos[:6], config, str(weights), tmp_path / 'model', root=images, **options)
    shutil.copytree(tmp_path / 'model', tmp_path / 'exported')
    found = {}
    for name, checkpoint in dict(model=None, exported=path).items():
        with ImageSearch.open(tmp_path / name, checkpoint=checkpoint, device='cpu', writable=True) as search:
            assert search.add(photos[6:], num_workers=0, progress=False).encoded == 2
            vectors, patches = search.gallery.vectors(search.gallery.ids()), search.gallery.patches([6, 7])
            results = search(photos[5:], 8, method='region', explain=True)
            assert all(hit.matches for result in results for hit in result.hits)
            places = np.sort([record.patch_boxes for record in search.gallery.records([6, 7])], axis=1)
            hits = [{hit.record.path: hit.score for hit in result.hits} for result in results]
            found[name] = vectors, patches, places, hits, search.sync([str(images)], dry_run=True, progress=False)
    for one, other in zip(found['exported'][:3], found['model'][:3]):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)  # patches are stored as float16
    for one, other in zip(found['exported'][3], found['model'][3], strict=True):
        assert list(one) == list(other) and one == pytest.approx(other, abs=1e-4)
    assert next(iter(found['exported'][3][1])) == str(Path(photos[6]).relative_to(images))
    content = onnx.load(str(path))
    said = content.metadata_props[0].value
    fingerprint = ExportedEncoder(path).fingerprint
    for old, new, message in (
        (fingerprint.config, '0' * 64, 'config'),
        ('"patches"', '"else"', 'other.onnx gives no patches.*: export the model again'),
    ):
        content.metadata_props[0].value = said.replace(old, new)
        onnx.save(content, str(tmp_path / 'other.onnx'))
        with pytest.raises(UserError, match=message):
            ImageSearch.open(tmp_path / 'model', checkpoint=tmp_path / 'other.onnx')


@pytest.mark.parametrize(
    'sources', [['global'], ['crop'], ['concat'], ['aggregated'], ['centre'], ['global', 'crop', 'centre']]
)
def test_a_metric_reads_the_embeddings_of_its_spaces(sources):
    """As the gallery does: own whitenings first, then the sum of unit vectors, then an adapter and the metric."""
    rng = np.random.default_rng(0)
    tokens, embedding, centre = (rng.standard_normal(shape, np.float32) for shape in ((5, 3, 4), (5, 4), (5, 4)))
    given = {one: _embed(one, dict(class_tokens=tokens, embedding=embedding, centre=centre)) for one in sources}
    own = {sources[0]: Whitening.fit_classes(given[sources[0]], list('aabbb'))}
    width = own[sources[0]].output_dimension
    residual = Residual(*(rng.standard_normal(shape, np.float32) for shape in ((6, width), (6,), (width, 6), (width,))))
    source = '+'.join(sources)
    last = Whitening(np.eye(2, width, dtype=np.float32), np.ones(2, np.float32), source=source, residual=residual)
    spaces = Spaces('cosine', {**dict.fromkeys(sources, width), 'x': 2}, {**own, 'x': last})
    layer = MetricLayer(sources, last, own)
    found = layer(*map(torch.from_numpy, (embedding, tokens, centre))).detach().numpy()
    np.testing.assert_allclose(found, spaces.queries(given, 'x'), atol=1e-5)


@pytest.mark.slow
def test_the_metric_of_a_gallery_is_exported(made, tmp_path):
    space = 'global+crop+centre'
    config, weights, images, path = made
    place, out = tmp_path / 'gallery', tmp_path / 'metric.onnx'
    options = dict(device='cpu', num_workers=0, progress=False, spaces=space.split('+'))
    build_gallery(str(images), config, str(weights), place, **options)
    with pytest.raises(UserError, match='which is no learned metric: learn one'):
        export_model(load_config(config), str(weights), out, 'embedding', metric_of=place)
    with open_gallery(place, writable=True) as gallery:
        learned = fit_metric(gallery, space, force=True)
    call_tool('export', config, weights, '--out', out, '--what', 'embedding', '--metric-of', place)
    model = ExportedModel(out, device='cpu')
    fingerprint = learned.transform.fingerprint
    assert model.info.metric == {'space': learned.space, 'source': space, 'fingerprint': fingerprint}
    assert 'centre' in model.info.spaces
    encoder = ExportedEncoder(out, device='cpu')
    prepared = [encoder.pipeline(np.asarray(Image.open(one))[..., ::-1]) for one in sorted(images.rglob('*.png'))]
    found = model(np.stack(prepared)[:, ::-1])['metric']
    with ImageSearch.open(place, checkpoint=out, device='cpu') as search:
        ids = {Path(one.path).name: one.id for one in search.gallery.records(search.gallery.ids())}
        stored = search.gallery.vectors([ids[one.name] for one in sorted(images.rglob('*.png'))])
        np.testing.assert_allclose(found, stored, atol=1e-3)
        (result,) = search(str(sorted(images.rglob('*.png'))[3]), 1)  # by the gallery, whose metric queries get there
    assert result.hits[0].score > 0.999


def test_every_space_and_class_scores(made):
    config, weights, images, path = made
    spaces = ('concat', 'global')
    wanted = Encoder(config, str(weights), device='cpu', spaces=spaces, classify=True).encode(str(images))
    found = ExportedEncoder(path, spaces=spaces, classify=True, device='cpu').encode(str(images))
    for space in spaces:
        np.testing.assert_allclose(found.embeddings[space], wanted.embeddings[space], atol=1e-4)
    np.testing.assert_allclose(found.class_scores, wanted.class_scores, atol=1e-4)
    with pytest.raises(UserError, match='spaces must be some of'):
        ExportedEncoder(path, spaces=['part'])


def test_command_line_of_the_exported_model(made, tmp_path, capsys):
    broken = tmp_path / 'photos' / 'broken.png'
    shutil.copytree(made[2], broken.parent)
    broken.write_bytes(b'no image')
    call_tool('infer_exported', made[3], broken.parent, '--out', tmp_path / 'results.json', '--device', 'cpu')
    lines = capsys.readouterr().out.splitlines()
    results = json.loads((tmp_path / 'results.json').read_text())
    assert len(lines) == 8 and len(results) == 9
    assert sum('error' in one for one in results) == 1
    assert 'striped' in ' '.join(lines) or 'plain' in ' '.join(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    'extra, outputs, spaces',
    [
        ("model['test_cfg'] = dict(crop='off')\n", (1, 1, 32), 1),
        (
            "model['neck'] = dict(type='GLSimSelector', top_o=3, num_regions=2)\n"
            "model['backbone'] = dict(type='TimmViT', model_name='vit_tiny_patch16_224', depth=2, embed_dim=32, "
            'num_heads=2, patch_size=8, img_size=32)\n',
            (2, 3, 32),
            4,
        ),
        (
            "model['neck'] = dict(type='GLSimSelector', coverage=0.6, smoothing=0.7, margin=0.1, aspect='image', "
            'min_share=0.3, max_share=0.8)\n',
            (1, 2, 32),
            4,
        ),
    ],
    ids=['no crop', 'two regions of timm', 'a box policy'],
)
def test_other_models(tmp_path, extra, outputs, spaces):
    config, weights, _ = write_model(tmp_path, extra)
    report = export_model(load_config(config), str(weights), tmp_path / 'model.onnx', 'embedding')
    assert max(report.difference.values()) <= 1e-4 and 'logits' not in report.info.outputs
    model = ExportedModel(report.path, device='cpu')
    found = model(np.zeros((2, 3, 32, 40), np.uint8))
    assert (found['selected_boxes'].shape[1], *found['class_tokens'].shape[1:]) == outputs
    assert len(model.info.spaces) == spaces
    with pytest.raises(GLSimError, match='--what classifier'):
        ExportedInferencer(report.path)


def test_a_plain_classifier(tmp_path):
    extra = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='VisionTransformer', img_size=32, patch_size=8, arch=model['backbone']['arch']),
    head=dict(type='VisionTransformerClsHead', num_classes=2, in_channels=32))
"""
    config, weights, images = write_model(tmp_path, extra)
    export_model(load_config(config), str(weights), tmp_path / 'model.onnx')
    wanted = Encoder(config, str(weights), device='cpu').encode(str(images))
    found = ExportedEncoder(tmp_path / 'model.onnx', device='cpu').encode(str(images))
    np.testing.assert_allclose(found.embeddings['global'], wanted.embeddings['global'], atol=1e-4)
    assert 'selected_box' not in ExportedInferencer(tmp_path / 'model.onnx', device='cpu')(str(images))[0]


@pytest.mark.slow
def test_a_program_of_torch_export(made, tmp_path):
    config, weights, images, path = made
    report = export_model(load_config(config), str(weights), tmp_path / 'model.pt2')
    program = torch.export.load(str(report.path))
    pixels = torch.rand(4, 3, 32, 40) * 255
    wanted = ExportedModel(path, device='cpu')(pixels.numpy())
    for name, value in zip(report.info.outputs, program.module()(pixels)):
        np.testing.assert_allclose(value.detach().numpy(), wanted[name], atol=1e-4)


@pytest.mark.slow
def test_weights_of_8_bits(made, tmp_path):
    config, weights, images, path = made
    report = export_model(load_config(config), str(weights), tmp_path / 'int8.onnx', int8=True)
    assert report.info.is_quantized and report.size < path.stat().st_size
    weights = [one for one in onnx.load(str(report.path)).graph.initializer if len(one.dims) == 2]
    small = sum(np.prod(one.dims) for one in weights if one.data_type == onnx.TensorProto.INT8)
    assert small > 0.7 * sum(np.prod(one.dims) for one in weights)  # slices of the last block's weights stay
    exact = ExportedEncoder(path, device='cpu').encode(str(images)).embeddings['global']
    rough = ExportedEncoder(report.path, device='cpu').encode(str(images)).embeddings['global']
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosine.min() > 0.97
    # Its embeddings are others, so galleries of the exact model refuse it.
    assert ExportedEncoder(report.path).fingerprint.differences(ExportedEncoder(path).fingerprint) == ['weights']


@pytest.mark.parametrize(
    'extra, message',
    [
        ("model['test_cfg'] = dict(crop='adaptive')\n", "to 'always' or 'off'"),
        ("model['neck'] = dict(type='RolloutSelector', top_o=3)\n", 'attention matrices'),
        ("model['neck'] = dict(type='GLSimSelector', union_with='maws')\n", 'attention matrices'),
        ("test_dataloader['dataset']['pipeline'] = [dict(type='Resize', scale=32)]\n", "backend='pillow'"),
    ],
)
def test_models_that_cannot_be_exported(tmp_path, extra, message):
    config, weights, _ = write_model(tmp_path, extra)
    with pytest.raises(GLSimError, match=message):
        export_model(load_config(config), str(weights), tmp_path / 'model.onnx')
    assert not list(tmp_path.glob('*.onnx')) and not list(tmp_path.glob('.model*'))


def test_arguments_out_of_range(made, tmp_path):
    config, weights, _, path = made
    cfg = load_config(config)
    for target, options, message in (
        (path, {}, '--overwrite'),
        (tmp_path / 'model.pt', {}, '.pt2'),
        (tmp_path / 'model.pt2', dict(int8=True), '.onnx files only'),
        (Path('/dev/null/model.onnx'), {}, 'cannot be written'),
        (tmp_path / 'model.onnx', dict(what='boxes'), 'classifier, embedding'),
    ):
        with pytest.raises(GLSimError, match=message):
            export_model(cfg, str(weights), target, **options)


def test_files_that_are_not_ours(tmp_path, made):
    with pytest.raises(GLSimError, match='no file'):
        ExportedModel(tmp_path / 'none.onnx')
    (tmp_path / 'text.onnx').write_text('text')
    with pytest.raises(GLSimError, match='cannot be opened'):
        ExportedModel(tmp_path / 'text.onnx')
    content = onnx.load(str(made[3]))
    for metadata, message in ((None, 'not written by'), ('{"format_version": 9}', 'version 9')):
        del content.metadata_props[:]
        if metadata:
            entry = content.metadata_props.add()
            entry.key, entry.value = 'glsim_mm', metadata
        onnx.save(content, str(tmp_path / 'other.onnx'))
        with pytest.raises(GLSimError, match=message):
            ExportedModel(tmp_path / 'other.onnx')
    with pytest.raises(GLSimError, match='damaged'):
        ExportedInfo.from_json('{"format_version": 1, "classes": []}', 'file')


def test_steps():
    steps = [
        dict(type='ResizeEdge', scale=40, edge='short', backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackInputs'),
    ]
    translated = translate_steps(steps)
    assert [step['type'] for step in translated] == ['resize_edge', 'center_crop']
    assert find_image_size(translated) == (32, 32)
    with pytest.raises(GLSimError, match='end it with CenterCrop'):
        find_image_size(translated[:1])
    with pytest.raises(GLSimError, match='Normalize of the test pipeline'):
        translate_steps([dict(type='Normalize')])
