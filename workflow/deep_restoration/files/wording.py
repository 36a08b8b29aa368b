"""Words for errors: why a file cannot be written or read though nothing is wrong with it, and the mend."""

import errno

# Why a file cannot be written though nothing is wrong with it, and what to do.
HINDRANCES = {
    errno.ENOSPC: "free some",
    errno.EDQUOT: "free some",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EROFS: "make its folder writable, or run elsewhere (snakemake --directory)",
    errno.EACCES: "make its folder writable, or run elsewhere (snakemake --directory)",
    errno.EPERM: "make it and its folder writable",
    errno.EIO: "see to its disk or network",
    errno.ESTALE: "see to the network's file system",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENAMETOOLONG: "shorten the names that it is made of",
    errno.EISDIR: "move what stands in its place elsewhere",
    errno.EEXIST: "move what stands in place of its folder elsewhere",
    errno.ENOTDIR: "move what stands in place of its folder elsewhere",
}
# Why a file cannot be read though nothing may be wrong with it, and what to do.
OBSTACLES = {
    errno.EAGAIN: "another program holds it open for writing; close it there",
    errno.EACCES: "make it readable",
    errno.EPERM: "make it readable",
    errno.EIO: "see to its disk or network",
    errno.ESTALE: "see to the network's file system",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "let other programs close files",
    errno.ENOMEM: "free memory",
}
