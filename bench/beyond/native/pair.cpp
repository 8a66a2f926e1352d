// Both LevelDBs opened and written here: a batch, or a frame, is one call, and works without Python's lock.
//
// Left out: what a new replica has not: floor, horizon, filling, `sync`; and telling of conflicts and of news.
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include <chrono>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "python.hpp"

namespace {

using leveldb::Slice;
using leveldb::WriteBatch;
using rules::Bytes;

constexpr size_t kTailBytes = 4 << 20;
constexpr int kFilterBits = 10, kWriteBuffer = 32 << 20;  // as RS_OPTIONS of the package

Slice slice(Bytes bytes) { return {bytes.data(), bytes.size()}; }
Slice slice(const rules::LogKey& key) { return {key.bytes, sizeof key.bytes}; }

void require(const leveldb::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::string line_of(std::initializer_list<uint64_t> numbers) {
  std::string line;
  for (uint64_t number : numbers) rules::append(line, number);
  return line;
}

std::string key_of(char prefix, std::initializer_list<uint64_t> numbers) { return prefix + line_of(numbers); }

struct Operation {
  Bytes key, value;
  bool deleted;
};

// A frame of protocol/messages.py: [5, origin, low, high, [record, …], last] in MessagePack.
class Frame {
 public:
  explicit Frame(Bytes body) : at_(body.data()), end_(at_ + body.size()) {
    if (array() < 6 || integer() != 5) fail();
    origin = integer(), low = integer(), high = integer();
    records.resize(array());
    for (Bytes& record : records) record = binary();
    auto truth = byte();
    if (truth != 0xc2 && truth != 0xc3) fail();
    last = truth == 0xc3;
  }
  uint64_t origin, low, high;
  std::vector<Bytes> records;
  bool last;

 private:
  [[noreturn]] static void fail() { throw std::runtime_error("not a frame of entries"); }
  uint8_t byte() { return static_cast<uint8_t>(*take(1)); }
  const char* take(size_t size) {
    if (size > static_cast<size_t>(end_ - at_)) fail();
    at_ += size;
    return at_ - size;
  }
  uint64_t sized(unsigned power) {
    switch (power) {
      case 0: return byte();
      case 1: return rules::load<uint16_t>(take(2));
      case 2: return rules::load<uint32_t>(take(4));
      case 3: return rules::load<uint64_t>(take(8));
    }
    fail();
  }
  uint64_t integer() {
    unsigned head = byte();
    return head < 0x80 ? head : sized(head - 0xccu);
  }
  size_t array() {
    unsigned head = byte();
    size_t count = head >> 4 == 9 ? head & 15 : head == 0xdc || head == 0xdd ? sized(head - 0xdbu) : ~size_t{0};
    if (count > rules::kMaxFrame) fail();
    return count;
  }
  Bytes binary() {
    unsigned head = byte();
    if (head < 0xc4 || head > 0xc6) fail();
    size_t size = sized(head - 0xc4u);
    return {take(size), size};
  }
  const char *at_, *end_;
};

class Pair {
 public:
  Pair(const std::string& db_path, const std::string& rs_path, uint64_t origin)
      : origin_(origin), bloom_(leveldb::NewBloomFilterPolicy(kFilterBits)), known_(rules::kFilterMask / 8 + 1) {
    leveldb::Options options;
    options.create_if_missing = true;
    open(options, db_path, db_);
    options.filter_policy = bloom_.get();
    options.write_buffer_size = kWriteBuffer;
    open(options, rs_path, rs_);
  }

  void bare(const std::vector<Operation>& operations) {
    WriteBatch batch;
    for (auto& operation : operations) batch.Put(slice(operation.key), slice(operation.value));
    require(db_->Write({}, &batch));
  }

  void write(std::vector<Operation>& operations, uint64_t wall_ms) {
    std::lock_guard guard(lock_);
    double began = now();
    keep_last(operations);
    uint64_t before = vector_[origin_], stamp = std::max(clock_ + 1, wall_ms << 16);
    WriteBatch rs_batch, db_batch;
    Change change;
    for (auto& [key, value, deleted] : operations) {
      std::string context;
      bool live = false;
      rules::Line line;
      if (find(key, line)) {
        context = rules::next_context(line, origin_);
        live = drop(line, rs_batch, change);
      } else {
        ++change.entries;
      }
      uint8_t flags = deleted ? rules::kDelete : 0;
      uint32_t checksum = deleted ? 0 : rules::checksum_of(value);
      auto record = rules::encode_entry(stamp, flags, checksum, key, value, context);
      rs_batch.Put(slice(rules::LogKey(origin_, stamp)), record);
      rs_batch.Put(index_key_, rules::encode_line(stamp, origin_, flags, checksum, context, context));
      change.records.emplace_back(stamp, std::move(record));
      put(key, value, deleted, live, db_batch, change);
      ++stamp;
    }
    rs_batch.Put(key_of('v', {origin_}), line_of({stamp - 1, before}));
    commit(rs_batch, db_batch, change, began);
    vector_[origin_] = clock_ = stamp - 1;
  }

  // `target`: the stamp of the frame's origin in the vector that its round will give.
  void apply(Bytes body, uint64_t source, uint64_t target, uint64_t latest) {
    std::lock_guard guard(lock_);
    double began = now();
    Frame frame(body);
    if (frame.high > latest) throw std::runtime_error("a stamp of the future");
    std::vector<rules::Entry> entries(frame.records.size());
    std::unordered_set<Bytes> keys;
    keys.reserve(entries.size());
    for (size_t i = 0; i < entries.size(); ++i)
      if (!rules::decode(frame.records[i], entries[i]) || !keys.insert(entries[i].key).second)
        throw std::runtime_error("an entry that is not sound, or a key twice");
    if (!rules::in_order(entries, frame.low, frame.high)) throw std::runtime_error("entries out of order");

    uint64_t origin = frame.origin, covered = vector_[origin], newest = 0;
    WriteBatch rs_batch, db_batch;
    Change change;
    for (auto& entry : entries) {
      std::string all(entry.context);
      bool live = false;
      rules::Line line;
      if (!find(entry.key, line)) {
        if (origin == origin_ && entry.stamp <= covered) continue;
        ++change.entries;
      } else {
        auto met = rules::meet(entry, origin, line, covered);
        if (!met.merged.empty()) rs_batch.Put(index_key_, met.merged);
        if (!met.wins) continue;
        live = drop(line, rs_batch, change);
        all = std::move(met.all);
      }
      newest = std::max(newest, entry.stamp);
      rs_batch.Put(slice(rules::LogKey(origin, entry.stamp)), slice(entry.record));
      rs_batch.Put(index_key_,
                   rules::encode_line(entry.stamp, origin, entry.flags, entry.checksum, all, entry.context));
      put(entry.key, entry.value, entry.flags & rules::kDelete, live, db_batch, change);
    }
    rs_batch.Put("a", line_of({origin, frame.low, frame.high}));
    std::string resume_key = key_of('r', {source, origin});
    uint64_t resumable = std::min(frame.high, target);
    auto& resume = resume_[{source, origin}];
    if (frame.last) {
      if (target > covered) rs_batch.Put(key_of('v', {origin}), line_of({target, covered}));
      if (resume.second) rs_batch.Delete(resume_key);
    } else if (frame.low < resumable) {
      if (resume.second && resume.first != resumable && resume.second != frame.low)
        throw std::runtime_error("a round with gaps: not in the prototype");
      resume = {resume.second ? std::min(resume.first, frame.low) : frame.low, std::max(resume.second, resumable)};
      rs_batch.Put(resume_key, line_of({resume.first, resume.second}));
    }
    commit(rs_batch, db_batch, change, began);
    clock_ = std::max(clock_, newest);
    if (frame.last) {
      clock_ = std::max(clock_, target);
      vector_[origin] = std::max(covered, target);
      resume = {};
    }
  }

  double rs_seconds = 0, db_seconds = 0, loop_seconds = 0;
  long keys = 0, entries = 0;

 private:
  struct Change {
    std::vector<std::pair<uint64_t, std::string>> records;
    std::vector<uint64_t> gone;
    long keys = 0, entries = 0;
  };

  static void open(const leveldb::Options& options, const std::string& path, std::unique_ptr<leveldb::DB>& to) {
    leveldb::DB* opened;
    require(leveldb::DB::Open(options, path, &opened));
    to.reset(opened);
  }

  // Of two writes of a key the later one counts, in the place of the first.
  static void keep_last(std::vector<Operation>& operations) {
    std::unordered_map<Bytes, size_t> places;
    places.reserve(operations.size());
    size_t kept = 0;
    for (auto& operation : operations) {
      python::check_size(operation.key, operation.value);
      auto [found, first] = places.emplace(operation.key, kept);
      operations[found->second] = operation;
      kept += first;
    }
    operations.resize(kept);
  }

  // Leaves the index key in `index_key_`, and the bytes of the line in `line_`.
  bool find(Bytes key, rules::Line& line) {
    index_key_.assign(1, 'i').append(key);
    size_t place = std::hash<Bytes>()(key) & rules::kFilterMask;
    auto bit = static_cast<uint8_t>(1 << (place & 7));
    if (!(known_[place >> 3] & bit)) {
      known_[place >> 3] |= bit;
      return false;
    }
    auto status = rs_->Get({}, index_key_, &line_);
    if (status.IsNotFound()) return false;
    require(status);
    if (!rules::decode_line(line_, line)) throw std::runtime_error("a damaged line of the index");
    return true;
  }

  // The entry of a line leaves the log. Whether there was a value.
  bool drop(const rules::Line& line, WriteBatch& rs_batch, Change& change) {
    rs_batch.Delete(slice(rules::LogKey(line.origin, line.stamp)));
    if (line.origin == origin_) change.gone.push_back(line.stamp);
    return !(line.flags & rules::kDelete);
  }

  static void put(Bytes key, Bytes value, bool deleted, bool live, WriteBatch& db_batch, Change& change) {
    if (deleted) {
      db_batch.Delete(slice(key));
      change.keys -= live;
    } else {
      db_batch.Put(slice(key), slice(value));
      change.keys += !live;
    }
  }

  void commit(WriteBatch& rs_batch, WriteBatch& db_batch, Change& change, double began) {
    double looped = now();
    require(rs_->Write({}, &rs_batch));
    double between = now();
    require(db_->Write({}, &db_batch));
    double ended = now();
    loop_seconds += looped - began, rs_seconds += between - looped, db_seconds += ended - between;
    keys += change.keys, entries += change.entries;
    for (uint64_t stamp : change.gone)
      if (auto found = tail_.find(stamp); found != tail_.end()) {
        tail_bytes_ -= found->second.size();
        tail_.erase(found);
      }
    for (auto& [stamp, record] : change.records) {
      tail_bytes_ += record.size();
      tail_.emplace_hint(tail_.end(), stamp, std::move(record));
    }
    for (; tail_bytes_ > kTailBytes; tail_.erase(tail_.begin())) tail_bytes_ -= tail_.begin()->second.size();
  }

  std::mutex lock_;
  uint64_t origin_, clock_ = 0;
  std::unique_ptr<const leveldb::FilterPolicy> bloom_;
  std::unique_ptr<leveldb::DB> db_, rs_;
  std::vector<uint8_t> known_;
  std::map<uint64_t, uint64_t> vector_;
  std::map<std::pair<uint64_t, uint64_t>, std::pair<uint64_t, uint64_t>> resume_;
  std::map<uint64_t, std::string> tail_;
  size_t tail_bytes_ = 0;
  std::string index_key_, line_;
};

// -- what Python sees: functions of a capsule

Pair& pair_of(PyObject* capsule) {
  auto* pair = static_cast<Pair*>(PyCapsule_GetPointer(capsule, "pair"));
  if (!pair) throw python::Raised{};
  return *pair;
}

// Without Python's lock. Errors are thrown once it is held again.
template <typename Work>
void without_lock(Work work) {
  std::exception_ptr error;
  PyThreadState* thread = PyEval_SaveThread();
  try {
    work();
  } catch (...) {
    error = std::current_exception();
  }
  PyEval_RestoreThread(thread);
  if (error) std::rethrow_exception(error);
}

// The operations of a list; `held` keeps their bytes, whatever happens to the list meanwhile.
std::vector<Operation> operations_of(PyObject* list, python::Owned& held) {
  held = python::own(PySequence_Tuple(list));
  std::vector<Operation> operations(static_cast<size_t>(PyTuple_Size(held.get())));
  for (size_t i = 0; i < operations.size(); ++i) {
    auto [key, value] = python::operation(PyTuple_GetItem(held.get(), static_cast<Py_ssize_t>(i)));
    bool deleted = value == Py_None;
    operations[i] = {python::bytes(key), deleted ? Bytes() : python::bytes(value), deleted};
  }
  return operations;
}

PyObject* open(PyObject*, PyObject* arguments) {
  return python::guarded([&]() -> PyObject* {
    const char *db, *rs;
    unsigned long long origin;
    if (!PyArg_ParseTuple(arguments, "ssK", &db, &rs, &origin)) throw python::Raised{};
    auto pair = std::make_unique<Pair>(db, rs, origin);
    auto* capsule = PyCapsule_New(
        pair.get(), "pair", [](PyObject* self) { delete static_cast<Pair*>(PyCapsule_GetPointer(self, "pair")); });
    if (capsule) pair.release();
    return capsule;
  });
}

PyObject* bare(PyObject*, PyObject* arguments) {
  return python::guarded([&]() -> PyObject* {
    PyObject *capsule, *list;
    if (!PyArg_ParseTuple(arguments, "OO", &capsule, &list)) throw python::Raised{};
    python::Owned held;
    auto operations = operations_of(list, held);
    Pair& pair = pair_of(capsule);
    without_lock([&] { pair.bare(operations); });
    Py_RETURN_NONE;
  });
}

PyObject* write(PyObject*, PyObject* arguments) {
  return python::guarded([&]() -> PyObject* {
    PyObject *capsule, *list;
    unsigned long long wall_ms;
    if (!PyArg_ParseTuple(arguments, "OOK", &capsule, &list, &wall_ms)) throw python::Raised{};
    python::Owned held;
    auto operations = operations_of(list, held);
    Pair& pair = pair_of(capsule);
    without_lock([&] { pair.write(operations, wall_ms); });
    Py_RETURN_NONE;
  });
}

PyObject* apply(PyObject*, PyObject* arguments) {
  return python::guarded([&]() -> PyObject* {
    PyObject *capsule, *body;
    unsigned long long source, target, latest;
    if (!PyArg_ParseTuple(arguments, "OSKKK", &capsule, &body, &source, &target, &latest)) throw python::Raised{};
    Bytes bytes = python::bytes(body);
    Pair& pair = pair_of(capsule);
    without_lock([&] { pair.apply(bytes, source, target, latest); });
    Py_RETURN_NONE;
  });
}

// → (seconds in the loop, in writes of rs, in writes of db, keys, entries)
PyObject* figures(PyObject*, PyObject* capsule) {
  return python::guarded([&]() -> PyObject* {
    Pair& pair = pair_of(capsule);
    return Py_BuildValue("dddll", pair.loop_seconds, pair.rs_seconds, pair.db_seconds, pair.keys, pair.entries);
  });
}

PyMethodDef methods[] = {{"open", open, METH_VARARGS, nullptr},   {"bare", bare, METH_VARARGS, nullptr},
                         {"write", write, METH_VARARGS, nullptr}, {"apply", apply, METH_VARARGS, nullptr},
                         {"figures", figures, METH_O, nullptr},   {nullptr, nullptr, 0, nullptr}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "pair", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_pair() { return PyModule_Create(&module); }
