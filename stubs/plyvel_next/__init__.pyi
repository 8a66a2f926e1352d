# plyvel_next is plyvel's source under another name, so both have the same types here.
from plyvel import DB as DB
from plyvel import CorruptionError as CorruptionError
from plyvel import Error as Error
from plyvel import IOError as IOError
from plyvel import IteratorInvalidError as IteratorInvalidError
from plyvel import __leveldb_version__ as __leveldb_version__
from plyvel import __version__ as __version__
from plyvel import destroy_db as destroy_db
from plyvel import repair_db as repair_db
