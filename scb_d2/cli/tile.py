"""Cut the photographs of a data set into tiles, so that small objects are large.

Takes COCO detection files and writes COCO detection files. All tiles of a photograph stay in the
part it is in. An object that a tile cuts off by too much becomes a crowd region there, which is
neither trained on nor counted. Test on the whole photographs with TEST.TILES.SIZE, so that runs
with and without tiles are compared on the same images.
"""

import argparse

from ._arguments import add_output

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `scb-d2 tile`."""
    parser.add_argument(
        "annotations",
        nargs="+",
        metavar="ANNOTATIONS.json",
        help="COCO detection file, one for each part (such as train and test)",
    )
    parser.add_argument("--images", required=True, metavar="DIR", help="folder of the photographs")
    add_output(parser)
    parser.add_argument("--size", type=int, required=True, help="side of a tile in pixels")
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="least overlap of neighbouring tiles, as a share of a tile (default: 0.2)",
    )
    parser.add_argument(
        "--min-visibility",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="an object counts in a tile that shows this share of its box (default: 0.5)",
    )
    parser.add_argument(
        "--drop-empty", action="store_true", help="leave out tiles without an object"
    )
    parser.add_argument(
        "--test-share",
        type=float,
        metavar="SHARE",
        help="split one file by photographs: this share of them becomes test.json, the others "
        "train.json",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")


def run(args: argparse.Namespace) -> None:
    """Write the tiles and say what came out.

    Raises:
        UserError: a flag or a file is wrong; nothing is written then.
    """
    from scb_d2.data.tiles.files import tile_dataset

    parts = tile_dataset(
        args.annotations,
        args.images,
        args.output,
        size=args.size,
        overlap=args.overlap,
        min_visibility=args.min_visibility,
        keep_empty=not args.drop_empty,
        test_share=args.test_share,
        seed=args.seed,
    )
    for name, part in parts.items():
        images, annotations = part.data["images"], part.data["annotations"]
        photographs = len({image["source_image_id"] for image in images})
        objects = sum(not annotation["iscrowd"] for annotation in annotations)
        print(
            f"{name}.json: {len(images):,} tiles of {photographs:,} photographs, {objects:,} "
            f"objects and {len(annotations) - objects:,} crowd regions"
            + (
                f"; {part.dropped_tiles:,} tiles without objects left out"
                * bool(part.dropped_tiles)
            )
            + "."
        )
        if part.never_visible:
            print(
                f"  {part.never_visible:,} objects are in no tile by {args.min_visibility:g} of "
                "their area: they are larger than a tile, or the overlap is too small for them."
            )
    print(f"Written to {args.output}; boxes only: segmentations and keypoints are left out.")
