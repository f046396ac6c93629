// hls::stream for simulation on a CPU, with the interface that AMD documents (UG1399, "HLS Stream Library"): a queue
// without a bound. A read of an empty stream would wait for ever, and what is left in a stream would stall hardware:
// both end the program.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <utility>

namespace hls {

template <typename T, int Depth = 0>
class stream {
public:
    explicit stream(std::string name = "a stream") : name_(std::move(name)) {}
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;
    ~stream() {
        if (!empty()) stop("holds words at the end");
    }

    bool empty() const { return words_.empty(); }
    bool full() const { return false; }
    std::size_t size() const { return words_.size(); }

    void write(const T& word) { words_.push_back(word); }
    bool write_nb(const T& word) {
        write(word);
        return true;
    }
    stream& operator<<(const T& word) {
        write(word);
        return *this;
    }

    bool read_nb(T& word) {
        if (empty()) return false;
        word = words_.front();
        words_.pop_front();
        return true;
    }
    void read(T& word) {
        if (!read_nb(word)) stop("is read when it is empty");
    }
    T read() {
        T word;
        read(word);
        return word;
    }
    stream& operator>>(T& word) {
        read(word);
        return *this;
    }

private:
    [[noreturn]] void stop(const char* why) const {
        std::fprintf(stderr, "stream %s %s\n", name_.c_str(), why);
        std::_Exit(EXIT_FAILURE);
    }

    std::string name_;
    std::deque<T> words_;
};

}  // namespace hls
