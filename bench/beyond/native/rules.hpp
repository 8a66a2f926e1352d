// The bytes of entries and of lines of the index, and what becomes of two entries that meet, as in
// level_replicator/core/entry.py and merge.py. Knows neither Python nor LevelDB.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rules {

using Bytes = std::string_view;
using Pairs = std::map<uint64_t, uint64_t>;  // origin, stamp

constexpr uint8_t kDelete = 1, kContext = 2, kOwnContext = 4;
constexpr size_t kEntryHead = 17, kLineHead = 21, kPair = 16;
constexpr size_t kMaxKey = 1 << 20, kMaxValue = 64 << 20, kMaxContext = 4096, kMaxFrame = 4096;
constexpr size_t kFilterMask = (size_t{4} << 20) * 8 - 1;

template <typename T>
T load(const char* at) {
  T number = 0;
  for (size_t i = 0; i < sizeof(T); ++i) number = static_cast<T>(number << 8 | static_cast<uint8_t>(at[i]));
  return number;
}

template <typename T>
void store(char* at, T number) {
  for (size_t i = sizeof(T); i-- > 0; number = static_cast<T>(number >> 8)) at[i] = static_cast<char>(number);
}

template <typename T>
void append(std::string& to, T number) {
  char bytes[sizeof(T)];
  store(bytes, number);
  to.append(bytes, sizeof(T));
}

inline uint32_t checksum_of(Bytes value) {
  return static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(value.data()), static_cast<uInt>(value.size())));
}

struct LogKey {
  char bytes[17];
  LogKey(uint64_t origin, uint64_t stamp) {
    bytes[0] = 'l';
    store(bytes + 1, origin);
    store(bytes + 9, stamp);
  }
};

struct Entry {
  uint64_t stamp;
  uint8_t flags;
  uint32_t checksum;
  Bytes key, value, context, record;
};

// False: not whole and sound.
inline bool decode(Bytes record, Entry& entry) {
  if (record.size() < kEntryHead) return false;
  entry = {load<uint64_t>(record.data()), static_cast<uint8_t>(record[8]), load<uint32_t>(record.data() + 9), {}, {}, {},
           record};
  size_t key_size = load<uint32_t>(record.data() + 13), start = kEntryHead + key_size;
  if (key_size > kMaxKey || start > record.size() || (entry.flags & ~(kDelete | kContext))) return false;
  entry.key = record.substr(kEntryHead, key_size);
  if (entry.flags & kContext) {
    if (start + 2 > record.size()) return false;
    size_t count = load<uint16_t>(record.data() + start), end = start + 2 + count * kPair;
    if (!count || count > kMaxContext || end > record.size()) return false;
    entry.context = record.substr(start + 2, count * kPair);
    start = end;
  }
  entry.value = record.substr(start);
  if (entry.flags & kDelete) return entry.value.empty() && !entry.checksum;
  return entry.value.size() <= kMaxValue && checksum_of(entry.value) == entry.checksum;
}

inline std::string encode_entry(uint64_t stamp, uint8_t flags, uint32_t checksum, Bytes key, Bytes value, Bytes context) {
  std::string record;
  record.reserve(kEntryHead + key.size() + 2 + context.size() + value.size());
  append(record, stamp);
  append(record, static_cast<uint8_t>(flags | (context.empty() ? 0 : kContext)));
  append(record, checksum);
  append(record, static_cast<uint32_t>(key.size()));
  record += key;
  if (!context.empty()) {
    append(record, static_cast<uint16_t>(context.size() / kPair));
    record += context;
  }
  record += value;
  return record;
}

inline Pairs decode_context(Bytes bytes) {
  Pairs pairs;
  for (size_t at = 0; at < bytes.size(); at += kPair)
    pairs[load<uint64_t>(bytes.data() + at)] = load<uint64_t>(bytes.data() + at + 8);
  return pairs;
}

inline std::string encode_context(const Pairs& all) {
  std::vector<std::pair<uint64_t, uint64_t>> pairs(all.begin(), all.end());
  if (pairs.size() > kMaxContext) {
    std::stable_sort(pairs.begin(), pairs.end(), [](auto& a, auto& b) { return a.second < b.second; });
    pairs.erase(pairs.begin(), pairs.end() - kMaxContext);
    std::sort(pairs.begin(), pairs.end());
  }
  std::string bytes;
  for (auto& [origin, stamp] : pairs) {
    append(bytes, origin);
    append(bytes, stamp);
  }
  return bytes;
}

struct Line {
  uint64_t stamp, origin;
  uint8_t flags;
  uint32_t checksum;
  Bytes own, all;  // contexts: of the entry, and the union
};

// False: not as it was written.
inline bool decode_line(Bytes bytes, Line& line) {
  if (bytes.size() < kLineHead) return false;
  line = {load<uint64_t>(bytes.data()), load<uint64_t>(bytes.data() + 8), static_cast<uint8_t>(bytes[16]),
          load<uint32_t>(bytes.data() + 17), {}, {}};
  Bytes rest = bytes.substr(kLineHead);
  size_t start = 0, end = 0;
  if (line.flags & kOwnContext) {
    if (rest.size() < 2) return false;
    start = 2;
    end = 2 + load<uint16_t>(rest.data()) * kPair;
  }
  if (end > rest.size() || (rest.size() - start) % kPair) return false;
  line.own = end ? rest.substr(start, end - start) : rest;
  line.all = rest.substr(end);
  return true;
}

inline std::string encode_line(uint64_t stamp, uint64_t origin, uint8_t flags, uint32_t checksum, Bytes all, Bytes own) {
  std::string line;
  line.reserve(kLineHead + all.size());
  append(line, stamp);
  append(line, origin);
  append(line, static_cast<uint8_t>((flags & kDelete) | (own == all ? 0 : kOwnContext)));
  append(line, checksum);
  if (own != all) {
    append(line, static_cast<uint16_t>(own.size() / kPair));
    line += own;
  }
  line += all;
  return line;
}

// The context of what `origin` writes over a line.
inline std::string next_context(const Line& line, uint64_t origin) {
  if (line.all.empty() && line.origin == origin) return {};
  Pairs context = decode_context(line.all);
  context[line.origin] = line.stamp;
  context.erase(origin);
  return encode_context(context);
}

inline std::string union_context(uint64_t winner, Bytes context, uint64_t stamp, uint64_t loser, Bytes lost) {
  if (winner == loser && context.empty() && lost.empty()) return {};
  Pairs all = decode_context(context), other = decode_context(lost);
  for (auto& [origin, at] : other) all[origin] = std::max(all[origin], at);
  all[loser] = std::max(all[loser], stamp);
  all.erase(winner);
  return encode_context(all);
}

inline bool overwrites(uint64_t origin, Bytes context, uint64_t over_stamp, uint64_t over_origin) {
  if (origin == over_origin) return true;
  if (context.empty()) return false;
  Pairs pairs = decode_context(context);
  auto found = pairs.find(over_origin);
  return found != pairs.end() && found->second >= over_stamp;
}

// What comes of an entry that meets a line: it wins, and its new line reflects `all`; or it does not, and the line,
// if it is to reflect more, becomes `merged`.
struct Meeting {
  bool wins = false, conflict = false;
  std::string all, merged;
};

inline Meeting meet(const Entry& entry, uint64_t origin, const Line& line, uint64_t covered) {
  Meeting met;
  if (std::pair(entry.stamp, origin) <= std::pair(line.stamp, line.origin)) {
    if (entry.stamp == line.stamp && origin == line.origin) return met;
    met.conflict = !overwrites(line.origin, line.all, entry.stamp, origin);
    std::string all = union_context(line.origin, line.all, entry.stamp, origin, entry.context);
    if (all != line.all) met.merged = encode_line(line.stamp, line.origin, line.flags, line.checksum, all, line.own);
    return met;
  }
  if (entry.stamp <= covered) return met;  // forged
  met.wins = true;
  met.conflict = !overwrites(origin, entry.context, line.stamp, line.origin);
  met.all = union_context(origin, entry.context, line.stamp, line.origin, line.all);
  return met;
}

// Of the entries of a frame: one row of stamps, up or down, within (low, high].
inline bool in_order(const std::vector<Entry>& entries, uint64_t low, uint64_t high) {
  if (entries.empty() || entries.size() > kMaxFrame) return false;
  bool down = entries.front().stamp > entries.back().stamp;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].stamp <= low || entries[i].stamp > high) return false;
    if (i && (down ? entries[i].stamp >= entries[i - 1].stamp : entries[i].stamp <= entries[i - 1].stamp)) return false;
  }
  return true;
}

}  // namespace rules
