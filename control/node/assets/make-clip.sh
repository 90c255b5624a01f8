#!/bin/sh
# Draws and encodes clip.ts, beside this script. Needs ffmpeg with libx264 and drawtext, and the DejaVu fonts.
#
# Every period in picture and sound divides 10 s, so the clip of 300 frames can be played in a loop.
set -eu
cd "$(dirname "$0")"

# st(0..): wheel distance and angle; waves; each colour is picked top-down, nearest thing first.
wheel='st(0,hypot(X-420,Y-196))*0+st(1,atan2(Y-196,X-420)-2*PI*T/10)*0'
water='st(2,258+3*sin(X/26+2*PI*T/2)+2*sin(X/11-2*PI*T/2.5))*0'
hills='st(3,205-26*sin(X/85+1)-10*sin(X/33))*0+st(4,228-18*sin(X/120+4))*0'
rim='(lt(abs(ld(0)-88),4)+lt(abs(ld(0)-66),3)+lt(ld(0),11)+lt(ld(0),90)*lt(abs(sin(6*ld(1)))*ld(0)/6,2.6)+between(ld(0),86,106)*lt(abs(sin(6*ld(1)))*ld(0)/6,4))'
sun='exp(-pow(hypot(X-120,Y-74)/70,2))'
disc='lt(hypot(X-120,Y-74),34)'
cloud='min(1,exp(-pow((mod(X+64*T,640)-180)/60,2)-pow((Y-52)/13,2))+exp(-pow((mod(X+64*T,640)-230)/45,2)-pow((Y-42)/15,2))+exp(-pow((mod(X+64*T+300,640)-250)/70,2)-pow((Y-96)/11,2)))'
roof='between(Y,78,122)*lt(abs(X-535),(Y-78)*2+8)'
wall='between(X,462,608)*between(Y,122,270)'
pane='between(Y,150,182)*(between(X,532,552)+between(X,572,592))'
spark='pow(max(0,sin(X/7+3*sin(Y/5+2*PI*T/2)+2*PI*T))*max(0,sin(Y/3.2-X/40+2*PI*T/2.5)),6)'
boatx='mod(64*T+120,640)'
boat="between(Y,282,296)*lt(abs(X-$boatx),34-(Y-282)*1.1)"
sail="between(Y,236,278)*between(X-$boatx,1,(Y-236)*0.62)"

pick() { # rim roof pane wall boat sail water near-hill far-hill sky
  printf '%s' "$wheel+$water+$hills+if($boat,$5,if($sail,$6,if(gt(Y,ld(2)),$7,if($rim,$1,if($roof,$2,if($pane*$wall,$3,if($wall,$4,if(gt(Y,ld(4)),$8,if(gt(Y,ld(3)),$9,${10})))))))))"
}
r=$(pick '96+30*cos(ld(1))' 150 255 "206-18*lt(mod(Y,16),2)" 120 250 "28+40*(Y-258)/102+200*$spark" 86 112 "min(255,110+0.55*Y+150*$sun+60*$disc+120*$cloud)")
g=$(pick '62+18*cos(ld(1))' 62 214 "188-20*lt(mod(Y,16),2)" 66 240 "104-30*(Y-258)/102+150*$spark" 142 158 "min(255,168+0.22*Y+70*$sun+50*$disc+80*$cloud)")
b=$(pick '40' 48 120 "160-20*lt(mod(Y,16),2)" 40 226 "146-40*(Y-258)/102+105*$spark" 66 116 "min(255,228-0.25*Y-40*$sun-60*$disc+40*$cloud)")

font=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf
title="drawtext=fontfile=$font:text=MILLSTREAM:x=20:y=322:fontsize=22:fontcolor=white:shadowx=2:shadowy=2"
clock="drawtext=fontfile=$font:text='%{eif\\:floor(t)\\:d\\:2}s %{eif\\:mod(n\\,30)\\:d\\:2}':x=w-tw-20:y=322:fontsize=22:fontcolor=white:shadowx=2:shadowy=2"

# A pentatonic tune, eight notes a bar, each a plucked string; a fifth below it; a slow stereo sway.
note='440*pow(2,(-12*eq(k,0)-5*eq(k,1)-3*eq(k,2)+0*eq(k,3)+2*eq(k,4)+4*eq(k,5)+7*eq(k,6)+9*eq(k,7))/12)'
step='st(0,mod(floor(t*4),40))*0+st(1,mod(ld(0)*3+floor(ld(0)/8)*2,8))*0+st(2,mod(t,0.25))*0'
freq=$(printf '%s' "$note" | sed 's/k,/ld(1),/g')
pluck="$step+st(3,$freq)*0+0.32*exp(-7*ld(2))*min(1,ld(2)*400)*(sin(2*PI*ld(3)*t)+0.4*sin(4*PI*ld(3)*t)+0.15*sin(6*PI*ld(3)*t))"
drone='0.07*(sin(2*PI*110*t)+sin(2*PI*165*t))'
tune="aevalsrc=exprs='($pluck)*(0.75+0.25*sin(2*PI*t/5))+$drone|($pluck)*(0.75-0.25*sin(2*PI*t/5))+$drone':s=48000:d=10"

ffmpeg -hide_banner -loglevel warning -y \
  -f lavfi -i "color=black:s=640x360:r=30:d=10,format=gbrp,geq=r='$r':g='$g':b='$b',$title,$clock,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p" \
  -f lavfi -i "$tune" \
  -map 0:v -map 1:a \
  -c:v libx264 -profile:v high -preset medium -tune zerolatency -threads 1 -bf 0 -g 60 -keyint_min 60 -sc_threshold 0 \
  -flags +cgop -b:v 330k -maxrate 480k -bufsize 480k -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv \
  -c:a aac -b:a 64k -ac 2 -ar 48000 \
  -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -f mpegts "${1:-clip.ts}"
