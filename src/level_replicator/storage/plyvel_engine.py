"""temporary"""
import fcntl, os, itertools
import plyvel
from level_replicator.core.errors import LockedError, StorageError
ENGINE_ERRORS = (plyvel.Error, StorageError, OSError)
class _R:
    def __init__(self, raw): self._raw = raw; self.get = raw.get
    def scan(self, start=None, stop=None, *, reverse=False): return self._raw.iterator(start=start, stop=stop, reverse=reverse)
    def scan_keys(self, start=None, stop=None, *, reverse=False): return self._raw.iterator(start=start, stop=stop, reverse=reverse, include_value=False)
class _S(_R):
    def close(self): self._raw.close()
class PlyvelEngine(_R):
    def __init__(self, db):
        super().__init__(db); self.db = db; self.put = db.put; self.delete = db.delete; self._fd=None
    def batch(self, *, sync=False): return self.db.write_batch(sync=sync)
    def snapshot(self): return _S(self.db.snapshot())
    def identity(self):
        p=os.path.join(self.db.name,'REPLICA-ID'); open(p,'a').close()
        return f"{os.stat(self.db.name).st_ino}:{os.stat(p).st_ino}".encode()
    name = property(lambda s: s.db.name)
    closed = property(lambda s: s.db.closed)
    def hold(self):
        p=os.path.join(self.db.name,'REPLICA-ID'); self._fd=os.open(p,os.O_CREAT|os.O_RDWR)
        try: fcntl.flock(self._fd, fcntl.LOCK_EX|fcntl.LOCK_NB)
        except OSError: os.close(self._fd); self._fd=None; raise LockedError("held")
    def release(self):
        if self._fd is not None: os.close(self._fd); self._fd=None
    def close(self): self.release(); self.db.close()
def open_engine(path, *, create=True, **o): return PlyvelEngine(plyvel.DB(path, create_if_missing=create, **o))
