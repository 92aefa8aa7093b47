"""Where the image files of a table lie: below the image root, through links that may be followed, else what is near."""

import os
import stat
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePosixPath

from retclip.data.dicom import eye_of_image

# The endings of image files; DICOM files are known by content, whatever they are called.
ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom", ".jp2", ".gif"}
MISSING = "the image file does not exist"
OUTSIDE = "the image path leads out of the image root"
LINK = (
    "the image path is a symbolic link out of the image root, and not both are the table owner's; "
    "set data.follow_links: true to read it"
)
SYSTEM = 0  # root's user id


class ImageFolder:
    """The folder that the image paths of a table are relative to.

    A symbolic link may lead out of it where the table's owner owns the link and the file, or where follow_links says
    so: otherwise, whoever can write to a shared folder of images could have any file read.
    """

    def __init__(self, root: str | os.PathLike[str], table: Path, follow_links: bool = False) -> None:
        self.root, self.table, self.follow_links = os.path.realpath(root), table, follow_links
        self._folders: dict[str, str] = {}  # folder of an image -> where it really is

    def find(self, location: str) -> str:
        """The location, in the Unicode form that the disk knows.

        Raises ValueError where no file is there that may be read, with what is near. No sentence names a file: it may
        be called after a patient.
        """
        if "://" in location:  # only a reader of such files may say so
            raise ValueError("the image path names a place inside another file, or on the net")
        if "\0" in location:
            raise ValueError("the image path has a null character")
        if (plain := self._plain_file(location)) is not None:
            return plain
        forms = dict.fromkeys((location, *(unicodedata.normalize(form, location) for form in ("NFC", "NFD"))))
        for form in map(os.path.normpath, forms):
            path = os.path.join(self.root, form)
            real = os.path.realpath(path)  # a loop of links ends in a path that is no file
            if not self._holds(path) and not self._holds(real):
                near = "; a file of its name lies below it" if self._nearest(os.path.basename(form)) else ""
                raise ValueError(OUTSIDE + near)
            if os.path.isfile(real):
                if not self._holds(real) and not self.follow_links and not self._is_owners(form):
                    raise ValueError(LINK)
                return form
        if os.path.isdir(path):
            raise ValueError("the image path is a folder")
        if os.path.exists(path):
            raise ValueError(f"{MISSING}; the path is a pipe or a device")
        if os.path.islink(path):
            raise ValueError(f"{MISSING}; the path is a symbolic link to nothing")
        found = self._nearest(location)
        raise ValueError(f"{MISSING}; it does {_differences(location, found)}" if found else MISSING)

    def _plain_file(self, location: str) -> str | None:
        """The location of a file that is no link, in a folder below the root; None where more must be given. Of 100,000
        files in a few folders, it takes a tenth of the time."""
        form = os.path.normpath(location)
        folder, name = os.path.split(os.path.join(self.root, form))
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        path = os.path.join(self._folders[folder], name)
        try:
            plain = stat.S_ISREG(os.lstat(path).st_mode)
        except (OSError, ValueError):
            return None
        return form if plain and self._holds(path) else None

    def eye_of(self, location: str, stated: str | None, who: str) -> str:
        """As dicom.eye_of_image; where no file is there that may be read, nothing is opened: find says why."""
        try:
            path = os.path.join(self.root, self.find(location))
        except ValueError:
            return stated or "unknown"
        return eye_of_image(path, stated, who)

    def _holds(self, path: str) -> bool:
        return os.path.normpath(path).startswith(self.root.rstrip(os.sep) + os.sep)

    @cached_property
    def _owner(self) -> int:
        return os.stat(self.table).st_uid

    def _is_owners(self, location: str) -> bool:
        """Whether the table's owner owns the file at a location and each link on the way there. Links outside of the
        root may be the system's, whose folders are often links."""
        place, waiting = self.root, list(reversed(PurePosixPath(location).parts))
        while waiting:  # it ends, since the location is a file: the links are no loop
            path = os.path.normpath(os.path.join(place, waiting.pop()))
            if not os.path.islink(path):
                place = path
                continue
            owner = os.lstat(path).st_uid
            if owner != self._owner and (owner != SYSTEM or self._holds(path)):
                return False
            waiting += reversed(PurePosixPath(os.readlink(path)).parts)
        return os.stat(place).st_uid == self._owner

    def _nearest(self, location: str) -> str | None:
        """The file below the root whose path differs least from the location; None where no name is like its name."""
        location = location.replace("\\", "/")
        name = PurePosixPath(location).name
        near = [*self._names[_plain(name)], *self._names[_plain(_stem(name))]]
        return min(near, key=lambda found: (len(_parts(location, found)), found), default=None)

    @cached_property
    def _names(self) -> defaultdict[str, list[str]]:
        """Plain name, with its ending and without -> the files that bear it. Read once, when a file is missing."""
        names: defaultdict[str, list[str]] = defaultdict(list)
        for folder, _, files in os.walk(self.root, followlinks=self.follow_links):
            for file in files:
                path = os.path.relpath(os.path.join(folder, file), self.root)
                for name in {_plain(file), _plain(_stem(file))}:
                    names[name].append(path)
        return names


def _stem(name: str) -> str:
    """The name without an ending of image files; any other end belongs to it (1.2.276.0.75)."""
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in ENDINGS else name


def _plain(name: str) -> str:
    """Letters and digits alone, in one form, numbers without leading zeros."""
    words = "".join(
        letter if letter.isalnum() else " " for letter in unicodedata.normalize("NFKC", name).casefold()
    ).split()
    return " ".join(word.lstrip("0") or "0" if word.isdecimal() else word for word in words)


def _differences(location: str, found: str) -> str:
    """How a path that is there differs from the one that was given, in words."""
    parts = ["with / for \\"] if "\\" in location else []
    return ", ".join([*parts, *_parts(location.replace("\\", "/"), found)])


def _parts(given: str, found: str) -> list[str]:
    """The same of two paths with forward slashes."""
    (given_folder, given_name), (folder, name) = os.path.split(os.path.normpath(given)), os.path.split(found)
    stems, folders = (_stem(given_name), _stem(name)), (given_folder, folder)
    parts = []
    if _form(given_folder) != _form(folder):
        parts.append("in another folder")
        folders = ("", "")
    both = [(a, b) for a, b in (stems, folders) if a != b]
    if any(_form(a) != _form(b) for a, b in both):
        parts.append("in another spelling")
    elif any(_unicode(a) != _unicode(b) and a.casefold() != b.casefold() for a, b in both):
        parts.append("in another Unicode form")
    elif both:
        parts.append("in other letter case")
    ending = name.removeprefix(stems[1])
    if given_name.removeprefix(stems[0]) != ending:
        parts.append(f"with the ending {ending}" if ending else "without an ending")
    return parts


def _unicode(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _form(name: str) -> str:
    """Equal for names that differ in letter case and Unicode form alone."""
    return unicodedata.normalize("NFKC", name).casefold()
