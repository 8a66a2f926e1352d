// What both modules need of Python: the stable ABI only, so that one build fits every version from 3.11 on.
#pragma once

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <memory>
#include <stdexcept>

#include "rules.hpp"

namespace python {

struct Release {
  void operator()(PyObject* object) const { Py_XDECREF(object); }
};
using Owned = std::unique_ptr<PyObject, Release>;

struct Raised {};  // a Python error is set

inline Owned own(PyObject* object) {
  if (!object) throw Raised{};
  return Owned(object);
}

inline rules::Bytes bytes(PyObject* object) {
  char* data;
  Py_ssize_t size;
  if (PyBytes_AsStringAndSize(object, &data, &size) < 0) throw Raised{};
  return {data, static_cast<size_t>(size)};
}

inline Owned bytes(rules::Bytes data) {
  return own(PyBytes_FromStringAndSize(data.data(), static_cast<Py_ssize_t>(data.size())));
}

inline Owned bytes(const rules::LogKey& key) { return bytes(rules::Bytes(key.bytes, sizeof key.bytes)); }

inline Owned number(uint64_t number) { return own(PyLong_FromUnsignedLongLong(number)); }

// A key and a value, or None, of an operation of a batch.
inline std::pair<PyObject*, PyObject*> operation(PyObject* pair) {
  PyObject *key = PyTuple_GetItem(pair, 0), *value = PyTuple_GetItem(pair, 1);
  if (!key || !value) throw Raised{};
  return {key, value};
}

inline void check_size(rules::Bytes key, rules::Bytes value) {
  if (key.size() > rules::kMaxKey || value.size() > rules::kMaxValue)
    throw std::runtime_error("more than can be replicated");
}

// Runs a function that gives an owned object; C++ errors become Python's.
template <typename Function>
PyObject* guarded(Function function) {
  try {
    return function();
  } catch (const Raised&) {
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

}  // namespace python
