// The header fields of a message, in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::http {

// ASCII, whatever the locale.
bool equal_ignoring_case(std::string_view a, std::string_view b);
// RFC 9110 section 5.6.2: one or more tchar.
bool is_token(std::string_view text);
// Without leading and trailing SP and HTAB.
std::string_view trim(std::string_view text);

// An ordered list of (name, value). Names compare without case and keep the case they came with.
// All text lies in one arena: two allocations a list. Views handed out are valid until the next
// non-const call. Changes and removals leave dead bytes in the arena; a list lives for one message.
class Headers {
 public:
  struct Field {
    std::string_view name;
    std::string_view value;
  };

  class Iterator {
   public:
    Iterator(const Headers* list, std::size_t index) : list_(list), index_(index) {}
    Field operator*() const { return list_->at(index_); }
    Iterator& operator++() {
      ++index_;
      return *this;
    }
    bool operator==(const Iterator& other) const { return index_ == other.index_; }

   private:
    const Headers* list_;
    std::size_t index_;
  };

  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  Field at(std::size_t index) const {
    const Entry& e = entries_[index];
    return {{arena_.data() + e.begin, e.name_size}, {arena_.data() + e.value, e.value_size}};
  }
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, entries_.size()}; }

  // The first value of that name.
  std::optional<std::string_view> find(std::string_view name) const;
  // The same, empty if there is none.
  std::string_view get(std::string_view name) const;
  bool has(std::string_view name) const { return find(name).has_value(); }
  std::vector<std::string_view> all(std::string_view name) const;
  std::size_t count(std::string_view name) const;

  // Arguments may be views into this list. The caller vouches for their bytes: a value that came
  // from outside any parser must not hold CR, LF or NUL (see valid_value).
  void add(std::string_view name, std::string_view value);
  // Replaces the first of that name in place and removes the others; adds it if there is none.
  void set(std::string_view name, std::string_view value);
  // How many were removed.
  std::size_t remove(std::string_view name);
  // `remove` is called as bool(std::string_view name, std::string_view value).
  template <typename Predicate>
  std::size_t remove_if(Predicate&& remove) {
    const std::size_t removed = std::erase_if(entries_, [&](const Entry& e) {
      return remove(std::string_view(arena_.data() + e.begin, e.name_size),
                    std::string_view(arena_.data() + e.value, e.value_size));
    });
    return removed;
  }

  // The members of all values of that name read as one comma-separated list (RFC 9110
  // section 5.6.1): trimmed, empty ones left out. Quoted strings are not understood.
  std::vector<std::string_view> tokens(std::string_view name) const;
  // Whether tokens(name) holds `token`, without case.
  bool has_token(std::string_view name, std::string_view token) const;

  void reserve(std::size_t fields, std::size_t bytes) {
    entries_.reserve(fields);
    arena_.reserve(bytes);
  }

  // The same fields in the same order, names without case.
  bool operator==(const Headers& other) const;

 private:
  struct Entry {
    std::uint32_t begin;  // of the name in arena_
    std::uint32_t name_size;
    std::uint32_t value;
    std::uint32_t value_size;
  };

  Entry append(std::string_view name, std::string_view value);
  bool inside(std::string_view text) const;

  std::string arena_;
  std::vector<Entry> entries_;
};

// RFC 9110 section 5.5 without leading or trailing white space: HTAB, SP, VCHAR, obs-text.
bool valid_value(std::string_view value);

}  // namespace sluice::http
