/// The token queues between the engines: how many tokens each holds, and how many are still to come.
///
/// An engine takes one token of every queue in `take_i` when it starts an instruction, and announces one for every queue
/// in `announce_i`; it gives them (`give_i`) when the instruction is done. `token_o`: the queue holds a token; `room_o`: it
/// has room for one more than it holds and is announced. One engine takes and one gives each queue (isa_pkg), so the
/// masks of all engines are put together by OR.
/// Latency: a change is seen in the next cycle.
module dpu_tokens
  import isa_pkg::*;
(
    input  logic                  clk_i,
    input  logic                  rst_ni,
    input  logic                  clear_i,
    input  logic [QueueCount-1:0] take_i,
    input  logic [QueueCount-1:0] announce_i,
    input  logic [QueueCount-1:0] give_i,
    output logic [QueueCount-1:0] token_o,
    output logic [QueueCount-1:0] room_o
);

  for (genvar q = 0; q < QueueCount; q++) begin : gen_queue
    logic [7:0] held_q;
    logic [8:0] promised_q;  // held and announced

    assign token_o[q] = held_q != '0;
    assign room_o[q]  = promised_q < 9'(QueueCapacity);

    always_ff @(posedge clk_i) begin
      if (!rst_ni || clear_i) begin
        held_q <= '0;
        promised_q <= '0;
      end else begin
        held_q <= held_q + 8'(give_i[q]) - 8'(take_i[q]);
        promised_q <= promised_q + 9'(announce_i[q]) - 9'(take_i[q]);
      end
    end
  end

endmodule
