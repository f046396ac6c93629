/// ADD and MULTIPLY of pixels: Lanes elements a cycle.
///
/// Pixels come in turn, a then b, at least Inputs / Lanes cycles from one b to the next; results go out as
/// whole pixels. The inner table is looked up for ADD; its data come vector_pkg::LaneInnerDelay cycles after
/// inner_en_o. Latency: Inputs / Lanes + vector_pkg::LaneLatency + 1 from b.
module vector_binary #(
    parameter int unsigned Inputs = 8,
    parameter int unsigned Lanes  = 8
) (
    input  logic                              clk_i,
    input  logic                              rst_ni,
    input  vector_pkg::setup_t                setup_i,
    input  logic                              valid_i,
    input  logic                              b_i,         // else a
    input  logic                              final_i,
    input  logic               [Inputs*8-1:0] pixel_i,
    output logic                              inner_en_o,
    output logic               [ Lanes*8-1:0] inner_o,
    input  logic               [Lanes*32-1:0] inner_i,
    output logic                              valid_o,
    output logic                              final_o,
    output logic               [Inputs*8-1:0] y_o
);

  import vector_pkg::*;

  localparam int unsigned Groups = Inputs / Lanes;
  localparam int unsigned CountBits = $clog2(Groups + 1);

  if (Inputs % Lanes != 0 || Lanes > Inputs) begin : gen_check
    $fatal(1, "Lanes (%0d) must divide Inputs (%0d).", Lanes, Inputs);
  end

  // a and b, from which the lanes take group after group; then results, group after group.
  logic [Inputs*8-1:0] waiting_q, a_q, b_q, y_q;
  logic [CountBits-1:0] left_q;  // groups of a_q and b_q that the lanes have yet to take
  logic final_q, feed, last;
  logic [LaneLatency-1:0] last_q, final_group_q;  // of the groups in the lanes; bit 0 entered last
  logic valid_q, final_result_q;
  logic [Lanes*8-1:0] results;

  assign feed = left_q != 0;
  assign last = left_q == CountBits'(1);
  assign inner_en_o = feed && !setup_i.multiply;
  assign inner_o = b_q[Lanes*8-1:0];
  assign valid_o = valid_q;
  assign final_o = final_result_q;
  assign y_o = y_q;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    vector_lane u_lane (
        .clk_i,
        .setup_i,
        .a_i    (a_q[l*8+:8]),
        .b_i    (b_q[l*8+:8]),
        .inner_i(inner_i[l*32+:32]),
        .y_o    (results[l*8+:8])
    );
  end

  always_ff @(posedge clk_i) begin
    if (valid_i && !b_i) waiting_q <= pixel_i;
    if (valid_i && b_i) begin
      a_q <= waiting_q;
      b_q <= pixel_i;
      final_q <= final_i;
    end else begin
      a_q <= (Inputs * 8)'({(Lanes * 8)'(0), a_q} >> (Lanes * 8));
      b_q <= (Inputs * 8)'({(Lanes * 8)'(0), b_q} >> (Lanes * 8));
    end
    final_group_q <= {final_group_q[LaneLatency-2:0], final_q};
    final_result_q <= final_group_q[LaneLatency-1];
    y_q <= (Inputs * 8)'({results, y_q} >> (Lanes * 8));
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q  <= '0;
      last_q  <= '0;
      valid_q <= 1'b0;
    end else begin
      if (valid_i && b_i) left_q <= CountBits'(Groups);
      else if (feed) left_q <= left_q - 1'b1;
      last_q  <= {last_q[LaneLatency-2:0], last};
      valid_q <= last_q[LaneLatency-1];
    end
  end

endmodule
