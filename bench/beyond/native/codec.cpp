// Encoding, decoding and comparing compiled; LevelDB stays with plyvel, whose bound methods are called key by key.
#include <unordered_set>

#include "python.hpp"

namespace {

using python::Owned;
using python::Raised;
using rules::Bytes;

void call(PyObject* function, PyObject* one, PyObject* two = nullptr) {
  python::own(PyObject_CallFunctionObjArgs(function, one, two, nullptr));
}

// Of storage/state/key_filter.py: the very bits, by Python's own hash.
class Known {
 public:
  Known(PyObject* bits, bool whole) : whole_(whole) {
    if (PyObject_GetBuffer(bits, &view_, PyBUF_WRITABLE) < 0) throw Raised{};
  }
  ~Known() { PyBuffer_Release(&view_); }
  Known(const Known&) = delete;

  bool is_new(PyObject* key) {
    auto place = static_cast<size_t>(PyObject_Hash(key)) & rules::kFilterMask;
    auto& byte = static_cast<uint8_t*>(view_.buf)[place >> 3];
    auto bit = static_cast<uint8_t>(1 << (place & 7));
    if (byte & bit) return false;
    byte |= bit;
    lookups += !whole_;
    return whole_;
  }
  long lookups = 0;

 private:
  Py_buffer view_;
  bool whole_;
};

// The methods of plyvel that a loop calls.
struct Calls {
  PyObject *get, *rs_put, *rs_delete, *db_put, *db_delete;

  // Whether the index has a line of the key; `held` keeps its bytes.
  bool line_of(PyObject* index_key, Owned& held, rules::Line& line) const {
    held = python::own(PyObject_CallFunctionObjArgs(get, index_key, nullptr));
    if (held.get() == Py_None) return false;
    if (!rules::decode_line(python::bytes(held.get()), line)) throw std::runtime_error("a damaged line of the index");
    return true;
  }
  void drop(const rules::Line& line) const {
    call(rs_delete, python::bytes(rules::LogKey(line.origin, line.stamp)).get());
  }
};

Owned index_key_of(Bytes key) {
  std::string index_key(1, 'i');
  index_key += key;
  return python::bytes(index_key);
}

Owned stamps(const std::vector<uint64_t>& all) {
  Owned list = python::own(PyList_New(0));
  for (uint64_t stamp : all)
    if (PyList_Append(list.get(), python::number(stamp).get()) < 0) throw Raised{};
  return list;
}

// encode_batch(operations, origin, first, bits, whole, get, rs_put, rs_delete, db_put, db_delete)
// → ({stamp: record}, bytes of them, [own stamps gone], keys more, entries more, lookups)
PyObject* encode_batch(PyObject*, PyObject* arguments) {
  return python::guarded([&]() -> PyObject* {
    PyObject *operations, *bits;
    unsigned long long origin, stamp;
    int whole;
    Calls calls;
    if (!PyArg_ParseTuple(arguments, "O!KKOpOOOOO", &PyList_Type, &operations, &origin, &stamp, &bits, &whole,
                          &calls.get, &calls.rs_put, &calls.rs_delete, &calls.db_put, &calls.db_delete))
      throw Raised{};
    Known known(bits, whole);
    Owned records = python::own(PyDict_New());
    std::vector<uint64_t> gone;
    Py_ssize_t keys = 0, entries = 0, size = 0;
    for (Py_ssize_t i = 0; i < PyList_Size(operations); ++i, ++stamp) {
      auto [key, value] = python::operation(PyList_GetItem(operations, i));
      bool deleted = value == Py_None, live = false, found = false;
      Bytes key_bytes = python::bytes(key), value_bytes = deleted ? Bytes() : python::bytes(value);
      Owned index_key = index_key_of(key_bytes), held;
      rules::Line line;
      std::string context;
      if (!known.is_new(key) && (found = calls.line_of(index_key.get(), held, line))) {
        context = rules::next_context(line, origin);
        live = !(line.flags & rules::kDelete);
        calls.drop(line);
        if (line.origin == origin) gone.push_back(line.stamp);
      }
      uint8_t flags = deleted ? rules::kDelete : 0;
      uint32_t checksum = deleted ? 0 : rules::checksum_of(value_bytes);
      Owned record = python::bytes(rules::encode_entry(stamp, flags, checksum, key_bytes, value_bytes, context));
      call(calls.rs_put, python::bytes(rules::LogKey(origin, stamp)).get(), record.get());
      call(calls.rs_put, index_key.get(),
           python::bytes(rules::encode_line(stamp, origin, flags, checksum, context, context)).get());
      if (PyDict_SetItem(records.get(), python::number(stamp).get(), record.get()) < 0) throw Raised{};
      size += PyBytes_Size(record.get());
      entries += !found;
      if (deleted) {
        call(calls.db_delete, key);
        keys -= live;
      } else {
        call(calls.db_put, key, value);
        keys += !live;
      }
    }
    return Py_BuildValue("NnNnnl", records.release(), size, stamps(gone).release(), keys, entries, known.lookups);
  });
}

Owned as_tuple(const rules::Entry& entry, PyObject* record) {
  Owned parts[] = {
      python::number(entry.stamp),
      python::number(entry.flags),
      python::number(entry.checksum),
      python::bytes(entry.key),
      entry.flags & rules::kDelete ? Owned(Py_NewRef(Py_None)) : python::bytes(entry.value),
      python::bytes(entry.context),
      Owned(Py_NewRef(record)),
  };
  Owned tuple = python::own(PyTuple_New(7));
  for (int i = 0; i < 7; ++i) PyTuple_SetItem(tuple.get(), i, parts[i].release());
  return tuple;
}

// decode_entries(records, low, high) → list of entries as tuples, or None where something is wrong
PyObject* decode_entries(PyObject*, PyObject* arguments) {
  return python::guarded([&]() -> PyObject* {
    PyObject* records;
    unsigned long long low, high;
    if (!PyArg_ParseTuple(arguments, "O!KK", &PyList_Type, &records, &low, &high)) throw Raised{};
    auto count = static_cast<size_t>(PyList_Size(records));
    std::vector<rules::Entry> entries(count);
    std::unordered_set<Bytes> keys;
    keys.reserve(count);
    Owned list = python::own(PyList_New(static_cast<Py_ssize_t>(count)));
    for (size_t i = 0; i < count; ++i) {
      PyObject* record = PyList_GetItem(records, static_cast<Py_ssize_t>(i));
      if (!rules::decode(python::bytes(record), entries[i]) || !keys.insert(entries[i].key).second) Py_RETURN_NONE;
      PyList_SetItem(list.get(), static_cast<Py_ssize_t>(i), as_tuple(entries[i], record).release());
    }
    if (!rules::in_order(entries, low, high)) Py_RETURN_NONE;
    return list.release();
  });
}

// merge(entries, origin, own, covered, bits, whole, get, rs_put, rs_delete, db_put, db_delete)
// → ([low, high, low, high, …] of new runs, [own stamps gone], newest, keys more, entries more, conflicts, lookups)
PyObject* merge(PyObject*, PyObject* arguments) {
  return python::guarded([&]() -> PyObject* {
    PyObject *entries, *bits;
    unsigned long long origin, own, covered;
    int whole;
    Calls calls;
    if (!PyArg_ParseTuple(arguments, "O!KKKOpOOOOO", &PyList_Type, &entries, &origin, &own, &covered, &bits, &whole,
                          &calls.get, &calls.rs_put, &calls.rs_delete, &calls.db_put, &calls.db_delete))
      throw Raised{};
    Known known(bits, whole);
    std::vector<uint64_t> runs, gone;
    uint64_t newest = 0, low = 0, high = 0;
    Py_ssize_t keys = 0, more = 0, conflicts = 0;
    auto end_run = [&] {
      if (high) runs.insert(runs.end(), {low, high});
      high = 0;
    };
    for (Py_ssize_t i = 0; i < PyList_Size(entries); ++i) {
      PyObject* tuple = PyList_GetItem(entries, i);
      PyObject *key = PyTuple_GetItem(tuple, 3), *value = PyTuple_GetItem(tuple, 4), *record = PyTuple_GetItem(tuple, 6);
      if (!record) throw Raised{};
      rules::Entry entry{PyLong_AsUnsignedLongLong(PyTuple_GetItem(tuple, 0)),
                         static_cast<uint8_t>(PyLong_AsLong(PyTuple_GetItem(tuple, 1))),
                         static_cast<uint32_t>(PyLong_AsUnsignedLong(PyTuple_GetItem(tuple, 2))),
                         python::bytes(key), {}, python::bytes(PyTuple_GetItem(tuple, 5)), {}};
      Owned index_key = index_key_of(entry.key), held;
      rules::Line line;
      std::string all(entry.context);
      bool live = false;
      if (known.is_new(key) || !calls.line_of(index_key.get(), held, line)) {
        if (origin == own && entry.stamp <= covered) {
          end_run();
          continue;
        }
        ++more;
      } else {
        rules::Meeting met = rules::meet(entry, origin, line, covered);
        conflicts += met.conflict;
        if (!met.wins) {
          if (!met.merged.empty()) call(calls.rs_put, index_key.get(), python::bytes(met.merged).get());
          end_run();
          continue;
        }
        live = !(line.flags & rules::kDelete);
        calls.drop(line);
        if (line.origin == own) gone.push_back(line.stamp);
        all = std::move(met.all);
      }
      if (!high) {
        low = entry.stamp - 1, high = entry.stamp;
      } else if (entry.stamp > high) {
        high = entry.stamp;
      } else {
        low = entry.stamp - 1;
      }
      newest = std::max(newest, entry.stamp);
      call(calls.rs_put, python::bytes(rules::LogKey(origin, entry.stamp)).get(), record);
      call(calls.rs_put, index_key.get(),
           python::bytes(rules::encode_line(entry.stamp, origin, entry.flags, entry.checksum, all, entry.context)).get());
      if (value == Py_None) {
        call(calls.db_delete, key);
        keys -= live;
      } else {
        call(calls.db_put, key, value);
        keys += !live;
      }
    }
    end_run();
    return Py_BuildValue("NNKnnnl", stamps(runs).release(), stamps(gone).release(), newest, keys, more, conflicts,
                         known.lookups);
  });
}

PyMethodDef methods[] = {{"encode_batch", encode_batch, METH_VARARGS, nullptr},
                         {"decode_entries", decode_entries, METH_VARARGS, nullptr},
                         {"merge", merge, METH_VARARGS, nullptr},
                         {nullptr, nullptr, 0, nullptr}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "codec", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_codec() { return PyModule_Create(&module); }
